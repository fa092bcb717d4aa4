package main

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// deriveEndpointSlices stands in for the two controllers of a cluster that istiod relies on: the one that
// makes EndpointSlices out of a Service's selector and the Pods, and the one that mirrors Endpoints. A
// Service that has an EndpointSlice of its own in the documents is left alone.
func deriveEndpointSlices(objects []object) []object {
	var services []*corev1.Service
	var pods []*corev1.Pod
	written := map[string]bool{}
	endpoints := map[string]*corev1.Endpoints{} //nolint:staticcheck // users still write Endpoints
	for _, item := range objects {
		switch typed := item.kube.(type) {
		case *corev1.Service:
			services = append(services, typed)
		case *corev1.Pod:
			pods = append(pods, typed)
		case *corev1.Endpoints: //nolint:staticcheck // users still write Endpoints
			endpoints[typed.Namespace+"/"+typed.Name] = typed
		case *discoveryv1.EndpointSlice:
			written[typed.Namespace+"/"+typed.Labels[discoveryv1.LabelServiceName]] = true
		}
	}
	var derived []object
	add := func(slice *discoveryv1.EndpointSlice) {
		slice.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
		item, err := kubeObject(slice, "EndpointSlice")
		if err == nil {
			derived = append(derived, item)
		}
	}
	for _, service := range services {
		key := service.Namespace + "/" + service.Name
		switch {
		case written[key]:
		case endpoints[key] != nil:
			for index, subset := range endpoints[key].Subsets {
				add(mirrored(service, subset, index))
			}
		case len(service.Spec.Selector) > 0:
			for _, pod := range pods {
				if slice := selected(service, pod); slice != nil {
					add(slice)
				}
			}
		}
	}
	return derived
}

// makePodsReady stands in for the kubelet: a pod that has an address and says nothing else is running and
// ready. Without that istiod would not know whose address it is.
func makePodsReady(objects []object) {
	for _, item := range objects {
		pod, ok := item.kube.(*corev1.Pod)
		if !ok || pod.Status.PodIP == "" {
			continue
		}
		if pod.Status.Phase == "" {
			pod.Status.Phase = corev1.PodRunning
		}
		if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady }) {
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
		}
	}
}

func emptySlice(service *corev1.Service, name, ip string) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv4
	if strings.Contains(ip, ":") {
		family = discoveryv1.AddressTypeIPv6
	}
	sliceLabels := maps.Clone(service.Labels)
	if sliceLabels == nil {
		sliceLabels = map[string]string{}
	}
	sliceLabels[discoveryv1.LabelServiceName] = service.Name
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: service.Namespace, Labels: sliceLabels},
		AddressType: family,
	}
}

//nolint:staticcheck // users still write Endpoints
func mirrored(service *corev1.Service, subset corev1.EndpointSubset, index int) *discoveryv1.EndpointSlice {
	first := ""
	for _, address := range slices.Concat(subset.Addresses, subset.NotReadyAddresses) {
		first = address.IP
		break
	}
	slice := emptySlice(service, fmt.Sprintf("%s-mirrored-%d", service.Name, index), first)
	for _, port := range subset.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: &port.Name, Port: &port.Port, Protocol: protocol(port.Protocol), AppProtocol: port.AppProtocol,
		})
	}
	for _, address := range subset.Addresses {
		slice.Endpoints = append(slice.Endpoints, endpointOf(address.IP, address.TargetRef, address.NodeName, true))
	}
	for _, address := range subset.NotReadyAddresses {
		slice.Endpoints = append(slice.Endpoints, endpointOf(address.IP, address.TargetRef, address.NodeName, false))
	}
	return slice
}

// selected is the slice of one pod, or nil where the service does not select it or it has no address yet.
func selected(service *corev1.Service, pod *corev1.Pod) *discoveryv1.EndpointSlice {
	finished := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if pod.Namespace != service.Namespace || pod.Status.PodIP == "" || finished || pod.DeletionTimestamp != nil ||
		!labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
		return nil
	}
	slice := emptySlice(service, service.Name+"-"+pod.Name, pod.Status.PodIP)
	for _, port := range service.Spec.Ports {
		number := targetPort(port, pod)
		if number == 0 {
			continue
		}
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: &port.Name, Port: &number, Protocol: protocol(port.Protocol), AppProtocol: port.AppProtocol,
		})
	}
	ready := true
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			ready = condition.Status == corev1.ConditionTrue
		}
	}
	reference := &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}
	var node *string
	if pod.Spec.NodeName != "" {
		node = &pod.Spec.NodeName
	}
	slice.Endpoints = []discoveryv1.Endpoint{endpointOf(pod.Status.PodIP, reference, node, ready)}
	return slice
}

func targetPort(port corev1.ServicePort, pod *corev1.Pod) int32 {
	if port.TargetPort.Type == intstr.Int {
		if port.TargetPort.IntVal != 0 {
			return port.TargetPort.IntVal
		}
		return port.Port
	}
	for _, container := range pod.Spec.Containers {
		for _, candidate := range container.Ports {
			if candidate.Name == port.TargetPort.StrVal {
				return candidate.ContainerPort
			}
		}
	}
	return 0
}

func endpointOf(ip string, reference *corev1.ObjectReference, node *string, ready bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{ip}, TargetRef: reference, NodeName: node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
	}
}

func protocol(given corev1.Protocol) *corev1.Protocol {
	if given == "" {
		given = corev1.ProtocolTCP
	}
	return &given
}

func newBufferedReader(text string) *bufio.Reader {
	return bufio.NewReader(strings.NewReader(text))
}
