// Command provisioner is Kubernetes' external-provisioner, with a main of the lab's own around its controller.
//
// Its own main can't be built here: v6.4.0 wants a release of its library that the module proxy does not have, and
// v6.3.0 is written for the client library before the one that the rest of the lab shares. The controller, which does
// the work, builds with it. What of the original main the lab does not need is left out: snapshots, storage capacity,
// deployment per node, leader election, migration from in-tree volumes, metrics.
//
//	provisioner --endpoint SOCKET --kubeconfig FILE
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/kubernetes-csi/csi-lib-utils/metrics"
	provisioner "github.com/kubernetes-csi/external-provisioner/v6/pkg/controller"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	csitranslation "k8s.io/csi-translation-lib"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	callTimeout = 30 * time.Second
	// A lab is looked at while it works: a volume that could not be made is tried again soon.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 10 * time.Second
	workers    = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	endpoint := flag.String("endpoint", "", "path of the driver's controller socket")
	kubeconfig := flag.String("kubeconfig", "", "path of a kubeconfig")
	flag.Parse()
	if err := run(ctx, *endpoint, *kubeconfig); err != nil {
		fmt.Fprintln(os.Stderr, "provisioner:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, endpoint, kubeconfig string) error {
	if endpoint == "" || kubeconfig == "" {
		return errors.New("--endpoint and --kubeconfig are needed")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, provisioner.ResyncPeriodOfCsiNodeInformer)
	provision, driver, err := newProvisioner(ctx, endpoint, client, factory)
	if err != nil {
		return err
	}
	loop := controller.NewProvisionController(ctx, client, driver, provision,
		controller.LeaderElection(false),
		controller.FailedProvisionThreshold(0), // never give up
		controller.FailedDeleteThreshold(0),
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
		controller.CreateProvisionedPVLimiter(workqueue.DefaultTypedControllerRateLimiter[string]()),
		controller.Threadiness(workers),
		controller.ClaimsInformer(factory.Core().V1().PersistentVolumeClaims().Informer()),
		controller.RetryIntervalMax(lastRetry),
		controller.AddFinalizer(true), // a PersistentVolume goes only after its disk
	)
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("could not list %v", kind)
		}
	}
	loop.Run(ctx)
	return nil
}

// newProvisioner connects to the driver and returns what provisions by it, and the driver's name.
func newProvisioner(
	ctx context.Context, endpoint string, client kubernetes.Interface, factory informers.SharedInformerFactory,
) (controller.Provisioner, string, error) {
	connection, err := provisioner.Connect(ctx, endpoint, metrics.NewCSIMetricsManagerForSidecar(""))
	if err != nil {
		return nil, "", err
	}
	if err := provisioner.Probe(ctx, connection, callTimeout); err != nil {
		return nil, "", err
	}
	driver, err := provisioner.GetDriverName(connection, callTimeout)
	if err != nil {
		return nil, "", err
	}
	plugin, capabilities, err := provisioner.GetDriverCapabilities(connection, callTimeout)
	if err != nil {
		return nil, "", err
	}
	return provisioner.NewCSIProvisioner(
		client,
		callTimeout,
		uuid.NewString()+"-"+driver,
		"pvc", // a volume is named pvc- and the claim's uid
		-1,    // the whole of it
		connection,
		nil, // no snapshots
		driver,
		plugin,
		capabilities,
		"",    // no migration
		true,  // strict topology: on the node that the scheduler chose, or not at all
		false, // no topology for volumes bound at once: anywhere
		csitranslation.New(),
		factory.Storage().V1().StorageClasses().Lister(),
		factory.Storage().V1().CSINodes().Lister(),
		factory.Core().V1().Nodes().Lister(),
		factory.Core().V1().PersistentVolumeClaims().Lister(),
		nil,  // nothing is attached
		nil,  // no data from other namespaces
		true, // tell the driver the claim's name
		"xfs",
		nil, // one provisioner for all nodes
		false,
		false,
		provisioner.NewInMemoryStore(),
	), driver, nil
}
