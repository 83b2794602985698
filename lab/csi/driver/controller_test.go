package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/mount-utils"
)

const mib = 1 << 20

// TestSizeFor shows how large a volume becomes for what is asked for.
func TestSizeFor(t *testing.T) {
	for name, c := range map[string]struct {
		required, limit, unasked, want int64
		code                           codes.Code
	}{
		"as asked":            {required: 400 * mib, want: 400 * mib},
		"whole mebibytes":     {required: 400*mib + 1, want: 401 * mib},
		"at least an XFS":     {required: mib, want: 300 * mib},
		"nothing asked":       {unasked: 1024 * mib, want: 1024 * mib},
		"limit met":           {required: 400 * mib, limit: 400 * mib, want: 400 * mib},
		"limit below an XFS":  {required: mib, limit: 2 * mib, code: codes.OutOfRange},
		"limit within a step": {required: 400*mib + 1, limit: 400*mib + 2, code: codes.OutOfRange},
		"no range":            {required: 2 * mib, limit: mib, code: codes.OutOfRange},
		"negative":            {required: -1, code: codes.OutOfRange},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sizeFor(&csi.CapacityRange{RequiredBytes: c.required, LimitBytes: c.limit}, c.unasked)
			if got != c.want || status.Code(err) != c.code {
				t.Errorf("got %d, %v; want %d, %v", got, err, c.want, c.code)
			}
		})
	}
}

func create(t *testing.T, c *controller, name, node string) (*csi.CreateVolumeResponse, error) {
	t.Helper()
	topology := []*csi.Topology{{Segments: map[string]string{topologyKey: node}}}
	return c.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: name,
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		}},
		AccessibilityRequirements: &csi.TopologyRequirement{Preferred: topology, Requisite: topology},
	})
}

// TestVolumesAreOnTheirNode shows that a volume is made where the scheduler says, says so, and is not found elsewhere.
func TestVolumesAreOnTheirNode(t *testing.T) {
	root := t.TempDir()
	openPool(t, root, "node-1")
	openPool(t, root, "node-2")
	all := pools{root: root, mounter: mount.NewWithoutSystemd("")}
	made, err := create(t, &controller{pools: all}, "v", "node-2")
	if err != nil {
		t.Fatal(err)
	}
	if got := made.GetVolume().GetAccessibleTopology()[0].GetSegments()[topologyKey]; got != "node-2" {
		t.Errorf("it says that it is on %s", got)
	}
	if _, err := os.Stat(filepath.Join(root, "node-2/pool/v", imageName)); err != nil {
		t.Error(err)
	}
	if _, err := all.find("v", "node-1"); status.Code(asStatus(err)) != codes.NotFound {
		t.Errorf("looked for on node-1: %v", err)
	}
	if _, err := create(t, &controller{pools: all}, "w", "node-3"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("on a node that is not there: %v", err)
	}
}

// TestNothingIsDecidedWhileAPoolIsAway shows that a pool that isn't mounted is neither written to nor taken for empty:
// its volumes would be lost, or taken for deleted.
func TestNothingIsDecidedWhileAPoolIsAway(t *testing.T) {
	root := t.TempDir()
	away := filepath.Join(root, "node-1", "pool")
	if err := os.MkdirAll(away, 0o750); err != nil {
		t.Fatal(err)
	}
	c := &controller{pools: pools{root: root, mounter: mount.NewWithoutSystemd("")}}
	if _, err := create(t, c, "v", "node-1"); status.Code(err) != codes.Unavailable {
		t.Errorf("create: %v", err)
	}
	_, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "v"})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "moln-lab up") {
		t.Errorf("delete: %v", err)
	}
	if left, _ := os.ReadDir(away); len(left) > 0 {
		t.Errorf("written where the pool should be: %v", left)
	}
}

// TestAMountedVolumeIsNotDeleted shows that a volume in use keeps its data, whoever asks.
func TestAMountedVolumeIsNotDeleted(t *testing.T) {
	root := t.TempDir()
	openPool(t, root, "node-1")
	all := pools{root: root, mounter: mount.NewWithoutSystemd("")}
	c := &controller{pools: all}
	if _, err := create(t, c, "v", "node-1"); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	if err := all.mounter.Mount(filepath.Join(root, "node-1/pool/v", imageName), target, "xfs", []string{"loop"}); err != nil {
		t.Fatal(err)
	}
	_, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "v"})
	if err := all.mounter.Unmount(target); err != nil {
		t.Fatal(err)
	}
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("delete while mounted: %v", err)
	}
	if _, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "v"}); err != nil {
		t.Errorf("delete when unmounted: %v", err)
	}
	if _, err := all.find("v"); status.Code(asStatus(err)) != codes.NotFound {
		t.Errorf("after that: %v", err)
	}
}

// TestSweepRemovesOnlyWhatIsHalf shows what a controller does at its start with what a killed one left.
func TestSweepRemovesOnlyWhatIsHalf(t *testing.T) {
	root := t.TempDir()
	pool := filepath.Join(root, "node-1", "pool")
	for _, name := range []string{unfinished + "v", deletedMark + "w", "x"} {
		if err := os.MkdirAll(filepath.Join(pool, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := (pools{root: root}).sweep(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(pool)
	if err != nil || len(left) != 1 || left[0].Name() != "x" {
		t.Errorf("left: %v, %v", left, err)
	}
}
