// Command witnessed runs a log of Tessera, which publishes a checkpoint only when a
// witness has cosigned it.
//
// It shares no code with Onward. It adds entries in rounds, waits for each round to be
// published, and prints the checkpoint that was published last. It fails if that takes
// too long, as when the witness refuses.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	folder := flag.String("folder", "", "where the log is, or is to be")
	key := flag.String("key", "", "the log's private key, as Go writes it")
	vkey := flag.String("witness", "", "the witness's vkey")
	at := flag.String("url", "", "the witness's URL")
	story := flag.String("story", "", "what the entries say")
	rounds := flag.Int("rounds", 1, "how often entries are added and published")
	entries := flag.Int("entries", 1, "entries of each round")
	patience := flag.Duration("patience", time.Minute, "how long all of it may take")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	last, err := run(ctx, *folder, *key, *vkey, *at, *story, *rounds, *entries)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(string(last))
}

// run grows the log, and returns the last checkpoint.
func run(
	ctx context.Context, folder, key, vkey, at, story string, rounds, entries int,
) ([]byte, error) {
	options, err := witnessedBy(key, vkey, at)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		return nil, err
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 20*time.Millisecond)
	var last []byte
	for round := range rounds {
		var added []tessera.IndexFuture
		for entry := range entries {
			text := fmt.Sprintf("%s %d %d", story, round, entry)
			added = append(added, appender.Add(ctx, tessera.NewEntry([]byte(text))))
		}
		for _, one := range added {
			if _, last, err = await.Await(ctx, one); err != nil {
				return nil, fmt.Errorf("not published: %w", err)
			}
		}
	}
	return last, shutdown(ctx)
}

// witnessedBy returns what makes a log wait for one witness.
func witnessedBy(key, vkey, at string) (*tessera.AppendOptions, error) {
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, err
	}
	where, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	witness, err := tessera.NewWitness(vkey, where)
	if err != nil {
		return nil, err
	}
	return tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(100*time.Millisecond).
		WithBatching(16, 20*time.Millisecond).
		WithWitnesses(tessera.NewWitnessGroup(1, witness), nil), nil
}
