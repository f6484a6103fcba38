// Command tlogcheck verifies an exported log with the note and tlog packages of the Go project: code that
// was not written here. It reads the checkpoint, every entry bundle and every tile, recomputes the tree, checks
// consistency with an older size, and checks a proof file.
//
//	tlogcheck -key VKEY -dir DIR [-older N -olderroot BASE64 -proofhashes FILE] [-proof FILE]
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// head is what the first three lines of a checkpoint say.
type head struct {
	size int64
	root tlog.Hash
}

func openHead(data []byte, verifier note.Verifier) (head, error) {
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return head{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return head{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return head{}, errors.New("bad size")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(raw) != tlog.HashSize {
		return head{}, errors.New("bad root")
	}
	made := head{size: size}
	copy(made.root[:], raw)
	return made, nil
}

// directory serves tiles from files. The layout has no height in its paths.
type directory struct{ root string }

func (d directory) Height() int { return height }

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) path(tile tlog.Tile) string {
	parts := strings.SplitN(tile.Path(), "/", 4) // tile / 8 / level or data / rest
	if parts[2] == "data" {
		parts[2] = "entries"
	}
	return filepath.Join(d.root, "tile", parts[2], filepath.FromSlash(parts[3]))
}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(d.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func splitBundle(data []byte, width int) ([][]byte, error) {
	var entries [][]byte
	for i := 0; i < width; i++ {
		if len(data) < 2 {
			return nil, errors.New("truncated bundle")
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, errors.New("truncated bundle")
		}
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	if len(data) != 0 {
		return nil, errors.New("bundle too long")
	}
	return entries, nil
}

// checkTree hashes every entry, stores all inner hashes as tlog does it, and compares root and every tile.
func checkTree(dir directory, want head) (tlog.HashReaderFunc, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			if index >= int64(len(stored)) {
				return nil, errors.New("no such hash")
			}
			found[i] = stored[index]
		}
		return found, nil
	})
	for first := int64(0); first < want.size; first += 1 << height {
		width := int(want.size - first)
		if width > 1<<height {
			width = 1 << height
		}
		data, err := os.ReadFile(dir.path(tlog.Tile{H: height, L: -1, N: first >> height, W: width}))
		if err != nil {
			return nil, err
		}
		entries, err := splitBundle(data, width)
		if err != nil {
			return nil, err
		}
		for i, entry := range entries {
			hashes, err := tlog.StoredHashes(first+int64(i), entry, reader)
			if err != nil {
				return nil, err
			}
			stored = append(stored, hashes...)
		}
	}
	root, err := tlog.TreeHash(want.size, reader)
	if err != nil {
		return nil, err
	}
	if root != want.root {
		return nil, errors.New("entries do not lead to the signed root")
	}
	for _, tile := range tlog.NewTiles(height, 0, want.size) {
		data, err := os.ReadFile(dir.path(tile))
		if err != nil {
			return nil, err
		}
		expected, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(data, expected) {
			return nil, fmt.Errorf("tile %s differs", tile.Path())
		}
	}
	if want.size > 0 {
		// Once more, from the tiles alone, by the reader that authenticates every tile against the root.
		tree := tlog.Tree{N: want.size, Hash: want.root}
		again, err := tlog.TreeHash(want.size, tlog.TileHashReader(tree, dir))
		if err != nil || again != want.root {
			return nil, fmt.Errorf("tiles do not lead to the signed root: %v", err)
		}
	}
	return reader, nil
}

func readHashes(lines []string) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, line := range lines {
		if line == "" {
			continue
		}
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func checkConsistency(want head, reader tlog.HashReader, older int64, olderRoot, file string) error {
	root, err := tlog.ParseHash(olderRoot)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	given, err := readHashes(strings.Split(string(text), "\n"))
	if err != nil {
		return err
	}
	own, err := tlog.ProveTree(want.size, older, reader)
	if err != nil {
		return err
	}
	if fmt.Sprint(own) != fmt.Sprint(tlog.TreeProof(given)) {
		return errors.New("consistency proof differs from the one made here")
	}
	return tlog.CheckTree(given, want.size, want.root, older, root)
}

func checkProof(dir directory, want head, verifier note.Verifier, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	top, rest, found := strings.Cut(string(data), "\n\n")
	lines := strings.Split(top, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a proof file")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return err
	}
	hashes, err := readHashes(lines[1:])
	if err != nil {
		return err
	}
	signed, err := openHead([]byte(rest), verifier)
	if err != nil {
		return err
	}
	if index < 0 || index >= want.size {
		return errors.New("index beyond the log")
	}
	width := int(want.size - index>>height<<height)
	if width > 1<<height {
		width = 1 << height
	}
	bundle, err := os.ReadFile(dir.path(tlog.Tile{H: height, L: -1, N: index >> height, W: width}))
	if err != nil {
		return err
	}
	entries, err := splitBundle(bundle, width)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(entries[index&(1<<height-1)])
	return tlog.CheckRecord(hashes, signed.size, signed.root, index, leaf)
}

func run() error {
	key := flag.String("key", "", "the log's verifier key")
	root := flag.String("dir", "", "the exported directory")
	older := flag.Int64("older", 0, "an older size")
	olderRoot := flag.String("olderroot", "", "the root at the older size")
	proofHashes := flag.String("proofhashes", "", "file with the consistency proof, a hash a line")
	proof := flag.String("proof", "", "proof file of one entry")
	flag.Parse()
	verifier, err := note.NewVerifier(*key)
	if err != nil {
		return err
	}
	dir := directory{*root}
	data, err := os.ReadFile(filepath.Join(*root, "checkpoint"))
	if err != nil {
		return err
	}
	want, err := openHead(data, verifier)
	if err != nil {
		return err
	}
	reader, err := checkTree(dir, want)
	if err != nil {
		return err
	}
	if *proofHashes != "" {
		if err := checkConsistency(want, reader, *older, *olderRoot, *proofHashes); err != nil {
			return fmt.Errorf("consistency: %w", err)
		}
	}
	if *proof != "" {
		if err := checkProof(dir, want, verifier, *proof); err != nil {
			return fmt.Errorf("proof: %w", err)
		}
	}
	fmt.Printf("ok %d\n", want.size)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tlogcheck:", err)
		os.Exit(1)
	}
}
