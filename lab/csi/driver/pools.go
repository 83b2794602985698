package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/mount-utils"
)

const (
	imageName    = "disk.img"
	recordName   = "volume.json"
	unfinished   = ".new-"
	deletedMark  = ".deleted-"
	smallestSize = 300 << 20 // mkfs.xfs refuses less
)

var (
	errNoVolume = errors.New("no such volume")
	errNoPool   = errors.New("no such node")
	errNotReady = errors.New("a node's pool is not mounted: run `moln-lab up`")
	errInUse    = errors.New("the volume is mounted")

	validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// pools is the disks of all nodes: <root>/<node>/pool, each a mounted XFS, with a directory for each volume.
//
// There is no state but these directories. A volume appears and goes by one rename, so that a process killed at any
// moment leaves it whole or absent.
type pools struct {
	root    string
	mounter mount.Interface
}

// A record is what volume.json keeps, for people and for moln_lab.volumes; the driver needs none of it.
type record struct {
	Volume    string `json:"volume"`
	Node      string `json:"node"`
	Namespace string `json:"namespace,omitempty"`
	Claim     string `json:"claim,omitempty"`
}

// A volume is a directory in a node's pool.
type volume struct {
	id   string
	node string
	dir  string
}

func (v volume) image() string { return filepath.Join(v.dir, imageName) }

func (v volume) size() (int64, error) {
	info, err := os.Stat(v.image())
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// grow makes the image larger. Whoever has it mounted sees the new size after nodeService.NodeExpandVolume.
func (v volume) grow(size int64) error { return os.Truncate(v.image(), size) }

// inUse tells whether a loop device has the image.
func (v volume) inUse() (bool, error) {
	backings, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return false, err
	}
	for _, path := range backings {
		backing, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(backing)) == v.image() {
			return true, nil
		}
	}
	return false, nil
}

// nodes names the nodes that have a pool.
func (p pools) nodes() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(p.root, "*", "pool"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pool := range found {
		names = append(names, filepath.Base(filepath.Dir(pool)))
	}
	return names, nil
}

// mounted returns a node's pool. Writing where it should be, while it isn't mounted, would put volumes where
// nothing finds them again.
func (p pools) mounted(node string) (string, error) {
	pool := filepath.Join(p.root, node, "pool")
	isMount, err := p.mounter.IsMountPoint(pool)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s", errNoPool, node)
	}
	if err != nil {
		return "", err
	}
	if !isMount {
		return "", fmt.Errorf("%w (%s)", errNotReady, node)
	}
	return pool, nil
}

// find looks for a volume in the pools of the nodes named, or of all nodes when none is.
//
// errNoVolume is returned only when every pool could be looked at.
func (p pools) find(id string, nodes ...string) (volume, error) {
	if !validID.MatchString(id) {
		return volume{}, fmt.Errorf("%w: %q", errNoVolume, id)
	}
	if len(nodes) == 0 {
		var err error
		if nodes, err = p.nodes(); err != nil {
			return volume{}, err
		}
	}
	var unseen error
	for _, node := range nodes {
		pool, err := p.mounted(node)
		if err != nil {
			unseen = err
			continue
		}
		found := volume{id: id, node: node, dir: filepath.Join(pool, id)}
		if _, err := os.Stat(found.dir); err == nil {
			return found, nil
		}
	}
	if unseen != nil {
		return volume{}, unseen
	}
	return volume{}, fmt.Errorf("%w: %s", errNoVolume, id)
}

// create makes a volume with an empty file system.
func (p pools) create(ctx context.Context, r record, size int64) (volume, error) {
	pool, err := p.mounted(r.Node)
	if err != nil {
		return volume{}, err
	}
	made := volume{id: r.Volume, node: r.Node, dir: filepath.Join(pool, r.Volume)}
	making := volume{dir: filepath.Join(pool, unfinished+r.Volume)}
	if err := os.RemoveAll(making.dir); err != nil {
		return volume{}, err
	}
	if err := os.Mkdir(making.dir, 0o700); err != nil {
		return volume{}, err
	}
	if err := makeXFS(ctx, making.image(), size); err != nil {
		return volume{}, err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return volume{}, err
	}
	if err := os.WriteFile(filepath.Join(making.dir, recordName), append(content, '\n'), 0o600); err != nil {
		return volume{}, err
	}
	return made, os.Rename(making.dir, made.dir)
}

func makeXFS(ctx context.Context, image string, size int64) error {
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, size); err != nil {
		return err
	}
	if output, err := exec.CommandContext(ctx, "mkfs.xfs", "-q", "-f", image).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.xfs: %w: %s", err, output)
	}
	return nil
}

// remove deletes a volume and its data, unless it is mounted.
func (p pools) remove(v volume) error {
	used, err := v.inUse()
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("%w: %s", errInUse, v.id)
	}
	gone := filepath.Join(filepath.Dir(v.dir), deletedMark+v.id)
	if err := os.Rename(v.dir, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// sweep removes what a controller killed half way through create or remove left behind.
func (p pools) sweep() error {
	for _, mark := range []string{unfinished, deletedMark} {
		left, err := filepath.Glob(filepath.Join(p.root, "*", "pool", mark+"*"))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}
