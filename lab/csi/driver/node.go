package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/mount-utils"
)

// nodeService mounts the volumes of one node, for its kubelet: staged once, then bound into each pod's directory.
//
// What is mounted is asked of the kernel each time, so that every call can be repeated, also by the next process.
type nodeService struct {
	csi.UnimplementedNodeServer
	name  string
	pools pools
	lock  sync.Mutex // one change at a time: they take milliseconds
}

func (n *nodeService) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId:             n.name,
		AccessibleTopology: &csi.Topology{Segments: map[string]string{topologyKey: n.name}},
	}, nil
}

func (n *nodeService) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	rpc := func(kind csi.NodeServiceCapability_RPC_Type) *csi.NodeServiceCapability {
		return &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{
			Rpc: &csi.NodeServiceCapability_RPC{Type: kind},
		}}
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{
		rpc(csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME),
		rpc(csi.NodeServiceCapability_RPC_EXPAND_VOLUME),
		rpc(csi.NodeServiceCapability_RPC_GET_VOLUME_STATS),
	}}, nil
}

// NodeStageVolume mounts the image. The loop device goes with the last mount (autoclear), and discard gives freed
// space back to the pool.
func (n *nodeService) NodeStageVolume(
	_ context.Context, r *csi.NodeStageVolumeRequest,
) (*csi.NodeStageVolumeResponse, error) {
	target := r.GetStagingTargetPath()
	if r.GetVolumeId() == "" || target == "" || r.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id, staging_target_path or volume_capability is missing")
	}
	if err := checkCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	v, err := n.pools.find(r.GetVolumeId(), n.name)
	if err != nil {
		return nil, asStatus(err)
	}
	options := append([]string{"loop", "discard", "nouuid"}, r.GetVolumeCapability().GetMount().GetMountFlags()...)
	if err := n.mount(v.image(), target, "xfs", options); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *nodeService) NodeUnstageVolume(
	_ context.Context, r *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	if r.GetVolumeId() == "" || r.GetStagingTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id or staging_target_path is missing")
	}
	if err := n.unmount(r.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (n *nodeService) NodePublishVolume(
	_ context.Context, r *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	if r.GetVolumeId() == "" || r.GetTargetPath() == "" || r.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id, target_path or volume_capability is missing")
	}
	if r.GetStagingTargetPath() == "" {
		return nil, status.Error(codes.FailedPrecondition, "the volume must be staged first")
	}
	if _, err := n.pools.find(r.GetVolumeId(), n.name); err != nil {
		return nil, asStatus(err)
	}
	staged, err := n.pools.mounter.IsMountPoint(r.GetStagingTargetPath())
	if err != nil || !staged {
		return nil, status.Errorf(codes.FailedPrecondition, "nothing is staged at %s", r.GetStagingTargetPath())
	}
	options := []string{"bind"}
	if r.GetReadonly() {
		options = append(options, "ro")
	}
	if err := n.mount(r.GetStagingTargetPath(), r.GetTargetPath(), "", options); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *nodeService) NodeUnpublishVolume(
	_ context.Context, r *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if r.GetVolumeId() == "" || r.GetTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id or target_path is missing")
	}
	if err := n.unmount(r.GetTargetPath()); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume makes the loop device and then the mounted file system as large as the image has become.
func (n *nodeService) NodeExpandVolume(
	ctx context.Context, r *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	v, path, err := n.mountedAt(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	n.lock.Lock()
	defer n.lock.Unlock()
	device, _, err := mount.GetDeviceNameFromMount(n.pools.mounter, path)
	if err != nil {
		return nil, asStatus(err)
	}
	for _, command := range [][]string{{"losetup", "--set-capacity", device}, {"xfs_growfs", "-d", path}} {
		if output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return nil, asStatus(fmt.Errorf("%s: %w: %s", command[0], err, output))
		}
	}
	size, err := v.size()
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: size}, nil
}

// NodeGetVolumeStats is where the kubelet's volume metrics come from.
func (n *nodeService) NodeGetVolumeStats(
	_ context.Context, r *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	_, path, err := n.mountedAt(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return nil, asStatus(err)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit:      csi.VolumeUsage_BYTES,
			Total:     int64(s.Blocks) * s.Bsize,
			Available: int64(s.Bavail) * s.Bsize,
			Used:      int64(s.Blocks-s.Bfree) * s.Bsize,
		},
		{
			Unit:      csi.VolumeUsage_INODES,
			Total:     int64(s.Files),
			Available: int64(s.Ffree),
			Used:      int64(s.Files - s.Ffree),
		},
	}}, nil
}

// mountedAt checks that a volume of this node is mounted at a path.
func (n *nodeService) mountedAt(id, path string) (volume, string, error) {
	if id == "" || path == "" {
		return volume{}, "", status.Error(codes.InvalidArgument, "volume_id or volume_path is missing")
	}
	v, err := n.pools.find(id, n.name)
	if err != nil {
		return volume{}, "", asStatus(err)
	}
	if is, err := n.pools.mounter.IsMountPoint(path); err != nil || !is {
		return volume{}, "", status.Errorf(codes.NotFound, "volume %s is not mounted at %s", id, path)
	}
	return v, path, nil
}

// mount mounts once; a target that is mounted already is left as it is.
func (n *nodeService) mount(source, target, kind string, options []string) error {
	n.lock.Lock()
	defer n.lock.Unlock()
	if err := os.MkdirAll(target, 0o750); err != nil {
		return asStatus(err)
	}
	if is, err := n.pools.mounter.IsMountPoint(target); err != nil || is {
		if err != nil {
			return asStatus(err)
		}
		return nil
	}
	if err := n.pools.mounter.Mount(source, target, kind, options); err != nil {
		return asStatus(err)
	}
	return nil
}

// unmount unmounts and removes the directory; one that is gone already is fine.
func (n *nodeService) unmount(target string) error {
	n.lock.Lock()
	defer n.lock.Unlock()
	err := mount.CleanupMountPoint(target, n.pools.mounter, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return asStatus(err)
	}
	return nil
}
