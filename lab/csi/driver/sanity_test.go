package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"google.golang.org/grpc"
	"k8s.io/mount-utils"
)

// openPool mounts an XFS as the pool of a node, as moln_lab.volumes does, and removes it after the test.
func openPool(t *testing.T, root, node string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for mounts")
	}
	mounter := mount.NewWithoutSystemd("")
	pool := filepath.Join(root, node, "pool")
	if err := os.MkdirAll(pool, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := makeXFS(t.Context(), pool+".img", 16<<30); err != nil {
		t.Fatal(err)
	}
	if err := mounter.Mount(pool+".img", pool, "xfs", []string{"loop"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mounter.Unmount(pool); err != nil {
			t.Error(err)
		}
	})
}

// serveAll serves all of the driver on one socket, and returns its path.
func serveAll(t *testing.T, node string, pools pools) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "csi.sock")
	ended := make(chan error, 1)
	go func() {
		ended <- serve(t.Context(), socket{path, func(server *grpc.Server) {
			csi.RegisterIdentityServer(server, identity{})
			csi.RegisterControllerServer(server, &controller{pools: pools})
			csi.RegisterNodeServer(server, &nodeService{name: node, pools: pools})
		}})
	}()
	t.Cleanup(func() { // runs after the test's context has ended
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if time.Now().After(deadline) {
			t.Fatal("the driver does not listen")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestSanity holds the driver against the CSI specification, by its own suite, on real loop devices. It shows too that
// no mount is left when the suite is through.
func TestSanity(t *testing.T) {
	root := t.TempDir()
	openPool(t, root, "node-1")
	config := sanity.NewTestConfig()
	config.Address = serveAll(t, "node-1", pools{root: root, mounter: mount.NewWithoutSystemd("")})
	mounts := t.TempDir()
	config.TargetPath = filepath.Join(mounts, "target")
	config.StagingPath = filepath.Join(mounts, "staging")
	config.TestVolumeSize = 512 << 20
	config.TestVolumeExpandSize = 1 << 30
	config.IdempotentCount = 3
	sanity.Test(t, config)

	if left := mountsUnder(t, mounts); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(root, "node-1/pool/*")); len(left) > 0 {
		t.Errorf("volumes left: %v", left)
	}
}

func mountsUnder(t *testing.T, directory string) []string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "findmnt", "--list", "--noheadings", "--output", "TARGET").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(output)) {
		if strings.HasPrefix(line, directory) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
