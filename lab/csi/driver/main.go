// Command moln-csi is the lab's CSI driver: volumes that are XFS file systems in sparse files on loop devices.
//
// It gives the lab what a disk of a real machine gives: a size that is enforced, growth while mounted, a place (one
// node), and data that outlives the pod. All nodes of the lab share one machine, so one controller process makes the
// files of all of them, and each node has a process that mounts its own. moln_lab.volumes starts them and opens the
// pools; no pod is involved.
//
//	moln-csi controller --endpoint SOCKET --pools DIR
//	moln-csi node --endpoint SOCKET --registration SOCKET --pools DIR --node NAME
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	pluginregistration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"k8s.io/mount-utils"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "moln-csi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to be: moln-csi controller|node ...")
	}
	flags := flag.NewFlagSet("moln-csi "+args[0], flag.ExitOnError)
	endpoint := flags.String("endpoint", "", "path of the socket to serve CSI on")
	root := flags.String("pools", "", "directory with one directory for each node, in it the mounted `pool`")
	registration := flags.String("registration", "", "node: path of the socket in the kubelet's plugins_registry")
	node := flags.String("node", "", "node: its name")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *endpoint == "" || *root == "" {
		return errors.New("--endpoint and --pools are needed")
	}
	pools := pools{root: *root, mounter: mount.NewWithoutSystemd("")}

	switch args[0] {
	case "controller":
		if err := pools.sweep(); err != nil {
			return err
		}
		slog.Info("controller", "endpoint", *endpoint, "pools", *root)
		return serve(ctx, socket{*endpoint, func(server *grpc.Server) {
			csi.RegisterIdentityServer(server, identity{})
			csi.RegisterControllerServer(server, &controller{pools: pools})
		}})
	case "node":
		if *node == "" || *registration == "" {
			return errors.New("--node and --registration are needed")
		}
		slog.Info("node", "name", *node, "endpoint", *endpoint, "registration", *registration)
		return serve(ctx, socket{*endpoint, func(server *grpc.Server) {
			csi.RegisterIdentityServer(server, identity{})
			csi.RegisterNodeServer(server, &nodeService{name: *node, pools: pools})
		}}, socket{*registration, func(server *grpc.Server) {
			pluginregistration.RegisterRegistrationServer(server, registrar{endpoint: *endpoint})
		}})
	default:
		return fmt.Errorf("%q is neither controller nor node", args[0])
	}
}
