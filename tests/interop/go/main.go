// Command interop checks a log with the packages that Go checks its own modules with.
//
// It shares no code with Onward. What it is told is where the log is, and the log's key;
// all else it computes from what it downloads, and from receipts and older checkpoints
// that somebody kept.
//
//  1. The checkpoint is signed by the log, and names it.
//  2. The tiles have the checkpoint's root.
//  3. Each entry has its leaf hash in the tiles, and a proof up to the root.
//  4. Each older checkpoint is signed, and the log has grown from it.
//  5. Each receipt proves its entry up to the checkpoint that it holds.
package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

// A log is what is known of it before anything is downloaded.
type log struct {
	url   string
	key   note.Verifier
	tiles map[string][]byte
}

// A found counts what was checked.
type found struct {
	Size     int64 `json:"size"`
	Records  int   `json:"records"`
	Older    int   `json:"older"`
	Receipts int   `json:"receipts"`
}

func main() {
	url := flag.String("url", "", "the log's URL")
	vkey := flag.String("vkey", "", "the log's key")
	step := flag.Int64("step", 1, "prove every so many entries only")
	older := flag.String("older", "", "file: a JSON array of older checkpoints")
	receipts := flag.String("receipts", "", "file: a JSON object of receipts by entry")
	flag.Parse()
	result, err := run(*url, *vkey, *step, *older, *receipts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(result)
}

func run(url, vkey string, step int64, older, receipts string) (*found, error) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	l := &log{strings.TrimSuffix(url, "/"), key, map[string][]byte{}}
	text, err := l.get("/checkpoint")
	if err != nil {
		return nil, err
	}
	tree, err := l.open(text) // 1
	if err != nil {
		return nil, err
	}
	hashes := tlog.TileHashReader(tree, l)
	root, err := tlog.TreeHash(tree.N, hashes) // 2
	if err != nil {
		return nil, err
	}
	if root != tree.Hash {
		return nil, errors.New("the tiles have another root than the checkpoint")
	}
	result := &found{Size: tree.N}
	if result.Records, err = l.checkRecords(tree, hashes, step); err != nil {
		return nil, err
	}
	if result.Older, err = l.checkOlder(tree, hashes, older); err != nil {
		return nil, err
	}
	result.Receipts, err = l.checkReceipts(receipts)
	return result, err
}

// open verifies a checkpoint and returns the tree that it is of.
func (l *log) open(text []byte) (tree tlog.Tree, err error) {
	opened, err := note.Open(text, note.VerifierList(l.key))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != l.key.Name() || lines[3] != "" {
		return tree, fmt.Errorf("not a checkpoint of %s", l.key.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// checkRecords compares all entries with the tiles, and proves every step-th.
func (l *log) checkRecords(tree tlog.Tree, r tlog.HashReader, step int64) (int, error) {
	proven := 0
	for first := int64(0); first < tree.N; first += width {
		entries, err := l.entries(first/width, min(width, tree.N-first))
		if err != nil {
			return 0, err
		}
		indexes := make([]int64, len(entries))
		for i := range entries {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		leaves, err := r.ReadHashes(indexes)
		if err != nil {
			return 0, err
		}
		for i, entry := range entries { // 3
			n := first + int64(i)
			if tlog.RecordHash(entry) != leaves[i] {
				return 0, fmt.Errorf("entry %d is not the one in the tiles", n)
			}
			if n%step != 0 {
				continue
			}
			proof, err := tlog.ProveRecord(tree.N, n, r)
			if err != nil {
				return 0, err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaves[i]); err != nil {
				return 0, fmt.Errorf("entry %d: %w", n, err)
			}
			proven++
		}
	}
	return proven, nil
}

// checkOlder proves that the log has grown from checkpoints that somebody kept.
func (l *log) checkOlder(tree tlog.Tree, r tlog.HashReader, file string) (int, error) {
	var kept []string
	if err := readJSON(file, &kept); err != nil {
		return 0, err
	}
	for _, text := range kept {
		old, err := l.open([]byte(text)) // 4
		if err != nil {
			return 0, err
		}
		proof, err := tlog.ProveTree(tree.N, old.N, r)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return 0, fmt.Errorf("from size %d: %w", old.N, err)
		}
	}
	return len(kept), nil
}

// checkReceipts proves entries, in hexadecimal, by their receipts (tlog-proof).
func (l *log) checkReceipts(file string) (int, error) {
	var kept map[string]string
	if err := readJSON(file, &kept); err != nil {
		return 0, err
	}
	for name, text := range kept {
		entry, err := hex.DecodeString(name)
		if err != nil {
			return 0, err
		}
		if err := l.checkReceipt(text, entry); err != nil { // 5
			return 0, fmt.Errorf("receipt of %s: %w", name, err)
		}
	}
	return len(kept), nil
}

func (l *log) checkReceipt(text string, entry []byte) error {
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a receipt")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return err
	}
	proof := tlog.RecordProof{}
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, err := l.open([]byte(checkpoint))
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

// entries downloads a bundle of entries.
func (l *log) entries(tile, count int64) ([][]byte, error) {
	w := int(count)
	path := tlog.Tile{H: height, L: 0, N: tile, W: w}.Path()
	data, err := l.get("/tile/entries/" + strings.TrimPrefix(path, "tile/8/0/"))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(data[0])<<8+int(data[1]) {
			return nil, fmt.Errorf("bundle %d ends inside an entry", tile)
		}
		end := 2 + int(data[0])<<8 + int(data[1])
		entries, data = append(entries, data[2:end]), data[end:]
	}
	if len(entries) != w {
		return nil, fmt.Errorf("bundle %d has %d entries, not %d", tile, len(entries), w)
	}
	return entries, nil
}

// Height makes a log a tlog.TileReader, with SaveTiles and ReadTiles.
func (l *log) Height() int { return height }

// SaveTiles keeps tiles that turned out to be what they should.
func (l *log) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		l.tiles[tile.Path()] = data[i]
	}
}

// ReadTiles downloads tiles. Go's paths name the height, and those of tlog-tiles do not.
func (l *log) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	read := make([][]byte, len(tiles))
	for i, tile := range tiles {
		if kept, ok := l.tiles[tile.Path()]; ok {
			read[i] = kept
			continue
		}
		var err error
		path := strings.TrimPrefix(tile.Path(), "tile/8/")
		if read[i], err = l.get("/tile/" + path); err != nil {
			return nil, err
		}
	}
	return read, nil
}

// get downloads a file of the log.
func (l *log) get(path string) ([]byte, error) {
	answer, err := http.Get(l.url + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, 1<<20))
}

// readJSON reads a file, if there is one to be read.
func readJSON(file string, into any) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

var _ tlog.TileReader = (*log)(nil)
