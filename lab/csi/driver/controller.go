package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const defaultSize = 1 << 30

// controller makes, deletes and grows volumes in the pools of all nodes, for external-provisioner and -resizer.
type controller struct {
	csi.UnimplementedControllerServer
	pools pools
	lock  sync.Mutex // one change at a time: they take milliseconds
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	rpc := func(kind csi.ControllerServiceCapability_RPC_Type) *csi.ControllerServiceCapability {
		return &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{
			Rpc: &csi.ControllerServiceCapability_RPC{Type: kind},
		}}
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		rpc(csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME),
		rpc(csi.ControllerServiceCapability_RPC_EXPAND_VOLUME),
	}}, nil
}

func (c *controller) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := checkCreate(r); err != nil {
		return nil, err
	}
	size, err := sizeFor(r.GetCapacityRange(), defaultSize)
	if err != nil {
		return nil, err
	}
	c.lock.Lock()
	defer c.lock.Unlock()

	existing, err := c.pools.find(r.GetName())
	switch {
	case err == nil:
		return repeated(existing, r.GetCapacityRange())
	case !errors.Is(err, errNoVolume):
		return nil, asStatus(err)
	}
	node, err := c.place(r.GetAccessibilityRequirements())
	if err != nil {
		return nil, err
	}
	made, err := c.pools.create(ctx, record{
		Volume:    r.GetName(),
		Node:      node,
		Namespace: r.GetParameters()["csi.storage.k8s.io/pvc/namespace"],
		Claim:     r.GetParameters()["csi.storage.k8s.io/pvc/name"],
	}, size)
	if err != nil {
		return nil, asStatus(err)
	}
	return created(made, size), nil
}

func checkCreate(r *csi.CreateVolumeRequest) error {
	switch {
	case !validID.MatchString(r.GetName()):
		return status.Errorf(codes.InvalidArgument, "a volume can't be named %q", r.GetName())
	case r.GetVolumeContentSource() != nil:
		return status.Error(codes.InvalidArgument, "volumes start empty: no clones or snapshots here")
	}
	return checkCapabilities(r.GetVolumeCapabilities())
}

// place chooses the node: the scheduler's choice comes first in preferred.
func (c *controller) place(requirement *csi.TopologyRequirement) (string, error) {
	nodes, err := c.pools.nodes()
	if err != nil {
		return "", asStatus(err)
	}
	for _, topology := range append(requirement.GetPreferred(), requirement.GetRequisite()...) {
		if node, ok := topology.GetSegments()[topologyKey]; ok {
			return node, nil
		}
	}
	if requirement != nil || len(nodes) == 0 {
		return "", status.Errorf(codes.ResourceExhausted, "no node with a pool has the topology asked for")
	}
	return nodes[0], nil
}

// repeated answers a CreateVolume for a name that exists: the same volume, if it is what is asked for.
func repeated(existing volume, want *csi.CapacityRange) (*csi.CreateVolumeResponse, error) {
	size, err := existing.size()
	if err != nil {
		return nil, asStatus(err)
	}
	if size < want.GetRequiredBytes() || (want.GetLimitBytes() > 0 && size > want.GetLimitBytes()) {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s exists with %d bytes", existing.id, size)
	}
	return created(existing, size), nil
}

func created(v volume, size int64) *csi.CreateVolumeResponse {
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           v.id,
		CapacityBytes:      size,
		AccessibleTopology: []*csi.Topology{{Segments: map[string]string{topologyKey: v.node}}},
	}}
}

func (c *controller) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id is missing")
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	v, err := c.pools.find(r.GetVolumeId())
	if err == nil {
		err = c.pools.remove(v)
	}
	if err != nil && !errors.Is(err, errNoVolume) {
		return nil, asStatus(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.GetVolumeId() == "" || len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_id or volume_capabilities is missing")
	}
	if _, err := c.pools.find(r.GetVolumeId()); err != nil {
		return nil, asStatus(err)
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: r.GetVolumeCapabilities(),
	}}, nil
}

// ControllerExpandVolume grows the file; the node then grows the file system, also while it is mounted.
func (c *controller) ControllerExpandVolume(
	_ context.Context, r *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	if r.GetVolumeId() == "" || r.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id or capacity_range is missing")
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	v, err := c.pools.find(r.GetVolumeId())
	if err != nil {
		return nil, asStatus(err)
	}
	now, err := v.size()
	if err != nil {
		return nil, asStatus(err)
	}
	size, err := sizeFor(r.GetCapacityRange(), now)
	if err != nil {
		return nil, err
	}
	if size > now {
		if err := v.grow(size); err != nil {
			return nil, asStatus(err)
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: max(size, now), NodeExpansionRequired: true}, nil
}

// sizeFor decides how large a volume is for a range: what is required, in whole MiB, at least what XFS needs.
func sizeFor(want *csi.CapacityRange, unasked int64) (int64, error) {
	required, limit := want.GetRequiredBytes(), want.GetLimitBytes()
	if required < 0 || limit < 0 || (limit > 0 && limit < required) {
		return 0, status.Errorf(codes.OutOfRange, "%d to %d bytes is no range", required, limit)
	}
	size := required
	if size == 0 {
		size = unasked
	}
	size = max((size+1<<20-1)>>20<<20, smallestSize)
	if limit > 0 && size > limit {
		return 0, status.Errorf(codes.OutOfRange, "the least that holds %d bytes is %d, over the limit", required, size)
	}
	return size, nil
}

func checkCapabilities(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return status.Error(codes.InvalidArgument, "volume_capabilities is missing")
	}
	for _, capability := range capabilities {
		if err := checkCapability(capability); err != nil {
			return err
		}
	}
	return nil
}

func checkCapability(capability *csi.VolumeCapability) error {
	if capability.GetMount() == nil {
		return status.Error(codes.InvalidArgument, "only file systems: volumeMode must be Filesystem")
	}
	if kind := capability.GetMount().GetFsType(); kind != "" && kind != "xfs" {
		return status.Errorf(codes.InvalidArgument, "only xfs, not %s: leave fsType out", kind)
	}
	switch mode := capability.GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		return nil
	default:
		return status.Errorf(codes.InvalidArgument, "a volume is on one node: use ReadWriteOnce, not %s", mode)
	}
}

// asStatus maps the pools' errors to CSI's codes, in one place.
func asStatus(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, errNoVolume):
		code = codes.NotFound
	case errors.Is(err, errInUse):
		code = codes.FailedPrecondition
	case errors.Is(err, errNoPool):
		code = codes.ResourceExhausted
	case errors.Is(err, errNotReady):
		code = codes.Unavailable
	}
	return status.Error(code, fmt.Sprint(err))
}
