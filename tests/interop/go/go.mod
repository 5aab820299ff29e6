module onward.example/interop

go 1.21

require golang.org/x/mod v0.0.0

// The test puts it there, from Go's own source tree.
replace golang.org/x/mod => ./mod
