package main

import (
	"context"
	"log/slog"

	pluginregistration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registrar tells a kubelet where the driver is. The kubelet finds it by its socket in plugins_registry, and asks
// again after a restart and after a failure, so there is nothing to retry here.
type registrar struct {
	pluginregistration.UnimplementedRegistrationServer
	endpoint string
}

func (r registrar) GetInfo(context.Context, *pluginregistration.InfoRequest) (*pluginregistration.PluginInfo, error) {
	return &pluginregistration.PluginInfo{
		Type:              pluginregistration.CSIPlugin,
		Name:              driverName,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (registrar) NotifyRegistrationStatus(
	_ context.Context, status *pluginregistration.RegistrationStatus,
) (*pluginregistration.RegistrationStatusResponse, error) {
	if status.GetPluginRegistered() {
		slog.Info("registered with the kubelet")
	} else {
		slog.Error("the kubelet refused the driver", "error", status.GetError())
	}
	return &pluginregistration.RegistrationStatusResponse{}, nil
}
