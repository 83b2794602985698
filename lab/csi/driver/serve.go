package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// A socket is one unix socket and the services on it.
type socket struct {
	path     string
	register func(*grpc.Server)
}

// serve answers on all sockets until the context ends, then lets running calls finish.
//
// A socket that a killed process left behind is replaced. Sockets are bound in the order given, so that the kubelet,
// which calls as soon as it sees the registration socket, finds the driver's already there.
func serve(ctx context.Context, sockets ...socket) error {
	failed := make(chan error, len(sockets))
	for _, s := range sockets {
		if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
			return err
		}
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		listener, err := net.Listen("unix", s.path)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.path, err)
		}
		server := grpc.NewServer(grpc.UnaryInterceptor(logCall))
		s.register(server)
		go func() { failed <- server.Serve(listener) }()
		defer server.GracefulStop()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// logCall logs every call that fails or changes something. Requests may carry secrets: only the volume's id is logged.
func logCall(ctx context.Context, request any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, err := handle(ctx, request)
	attributes := []any{"method", call.FullMethod, "took", time.Since(start).Round(time.Millisecond)}
	if volume, ok := request.(interface{ GetVolumeId() string }); ok {
		attributes = append(attributes, "volume", volume.GetVolumeId())
	}
	if err != nil {
		slog.Error("call failed", append(attributes, "code", status.Code(err), "error", err)...)
	} else {
		slog.Info("call", attributes...)
	}
	return response, err
}
