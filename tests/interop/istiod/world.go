package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"google.golang.org/protobuf/proto"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	kubelib "istio.io/istio/pkg/kube"
)

// object is one YAML document: an Istio config or a Kubernetes object, never both.
type object struct {
	key   string
	istio *config.Config
	kube  runtime.Object
}

// changes counts what one replacement did.
type changes struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
}

// world keeps istiod's config store and its in-memory Kubernetes equal to one set of documents.
type world struct {
	server *xds.FakeDiscoveryServer
	lock   sync.Mutex
	held   map[string]object
	order  []string
	// version is the last resource version handed out: informers ignore an update that keeps it.
	version int
}

func newWorld(server *xds.FakeDiscoveryServer) *world {
	return &world{server: server, held: map[string]object{}}
}

// replace makes the documents of text the whole of the world. All of them are parsed and validated
// first, so that a bad document changes nothing.
func (w *world) replace(text string) (changes, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	var done changes
	objects, err := parseDocuments(text)
	if err != nil {
		return done, err
	}
	makePodsReady(objects)
	objects = append(objects, deriveEndpointSlices(objects)...)
	next := make(map[string]object, len(objects))
	for _, item := range objects {
		if _, twice := next[item.key]; twice {
			return done, fmt.Errorf("%s is there twice", item.key)
		}
		next[item.key] = item
	}
	for i := len(w.order) - 1; i >= 0; i-- {
		if _, stays := next[w.order[i]]; stays {
			continue
		}
		if err := w.delete(w.held[w.order[i]]); err != nil {
			return done, err
		}
		done.Deleted++
	}
	// istiod looks a pod up once, when it takes a slice in: pods and nodes have to be there before.
	sort.SliceStable(objects, func(i, j int) bool { return !isSlice(objects[i]) && isSlice(objects[j]) })
	order := make([]string, 0, len(objects))
	waited := false
	for _, item := range objects {
		if isSlice(item) && !waited {
			waited = true
			if err := w.settle(); err != nil {
				return done, err
			}
		}
		order = append(order, item.key)
		old, exists := w.held[item.key]
		switch {
		case !exists:
			err = w.create(item)
			done.Created++
		case !same(old, item):
			err = w.update(item)
			done.Updated++
		default:
			next[item.key] = old
		}
		if err != nil {
			return done, fmt.Errorf("%s: %w", item.key, err)
		}
	}
	w.held, w.order = next, order
	return done, w.settle()
}

func isSlice(item object) bool {
	_, yes := item.kube.(*discoveryv1.EndpointSlice)
	return yes
}

func same(a, b object) bool {
	if a.istio != nil && b.istio != nil {
		return reflect.DeepEqual(a.istio.Labels, b.istio.Labels) &&
			reflect.DeepEqual(a.istio.Annotations, b.istio.Annotations) && sameSpec(a.istio.Spec, b.istio.Spec)
	}
	if a.kube == nil || b.kube == nil {
		return false
	}
	left, right := a.kube.DeepCopyObject(), b.kube.DeepCopyObject()
	for _, side := range []runtime.Object{left, right} {
		if accessor, err := meta.Accessor(side); err == nil {
			accessor.SetResourceVersion("")
		}
	}
	return reflect.DeepEqual(left, right)
}

func sameSpec(a, b config.Spec) bool {
	left, isProto := a.(proto.Message)
	right, bothProto := b.(proto.Message)
	if isProto && bothProto {
		return proto.Equal(left, right)
	}
	return reflect.DeepEqual(a, b)
}

func (w *world) create(item object) error {
	if item.istio != nil {
		_, err := w.server.Store().Create(item.istio.DeepCopy())
		return err
	}
	accessor, resource, err := w.stamp(item)
	if err != nil {
		return err
	}
	return w.tracker().Create(resource, item.kube.DeepCopyObject(), accessor.GetNamespace())
}

func (w *world) update(item object) error {
	if item.istio != nil {
		replacement := item.istio.DeepCopy()
		if held := w.server.Store().Get(replacement.GroupVersionKind, replacement.Name, replacement.Namespace); held != nil {
			replacement.CreationTimestamp = held.CreationTimestamp
		}
		_, err := w.server.Store().Update(replacement)
		return err
	}
	accessor, resource, err := w.stamp(item)
	if err != nil {
		return err
	}
	return w.tracker().Update(resource, item.kube.DeepCopyObject(), accessor.GetNamespace())
}

func (w *world) delete(item object) error {
	if item.istio != nil {
		return w.server.Store().Delete(item.istio.GroupVersionKind, item.istio.Name, item.istio.Namespace, nil)
	}
	accessor, err := meta.Accessor(item.kube)
	if err != nil {
		return err
	}
	return w.tracker().Delete(resourceOf(item.kube), accessor.GetNamespace(), accessor.GetName())
}

func (w *world) stamp(item object) (metav1.Object, schema.GroupVersionResource, error) {
	accessor, err := meta.Accessor(item.kube)
	if err != nil {
		return nil, schema.GroupVersionResource{}, err
	}
	w.version++
	accessor.SetResourceVersion(strconv.Itoa(w.version))
	return accessor, resourceOf(item.kube), nil
}

type tracker interface {
	Create(gvr schema.GroupVersionResource, obj runtime.Object, ns string, opts ...metav1.CreateOptions) error
	Update(gvr schema.GroupVersionResource, obj runtime.Object, ns string, opts ...metav1.UpdateOptions) error
	Delete(gvr schema.GroupVersionResource, ns, name string, opts ...metav1.DeleteOptions) error
}

func (w *world) tracker() tracker {
	return w.server.KubeClient().Kube().(*fake.Clientset).Tracker()
}

func resourceOf(item runtime.Object) schema.GroupVersionResource {
	resource, _ := meta.UnsafeGuessKindToResource(item.GetObjectKind().GroupVersionKind())
	return resource
}

// settle waits until istiod has taken in what was changed: informers tell it asynchronously, so the wait
// is for a quiet spell with nothing uncommitted. Nothing is promised beyond it; readers still poll.
func (w *world) settle() error {
	const quiet, step, limit = 80 * time.Millisecond, 5 * time.Millisecond, 10 * time.Second
	deadline := time.Now().Add(limit)
	last, since := w.server.Discovery.InboundUpdates.Load(), time.Now()
	for time.Now().Before(deadline) {
		time.Sleep(step)
		inbound := w.server.Discovery.InboundUpdates.Load()
		if inbound != last || w.server.Discovery.CommittedUpdates.Load() < inbound {
			last, since = inbound, time.Now()
		} else if time.Since(since) >= quiet {
			return nil
		}
	}
	return fmt.Errorf("istiod did not settle within %s", limit)
}

func parseDocuments(text string) ([]object, error) {
	var objects []object
	reader := kubeyaml.NewYAMLReader(newBufferedReader(text))
	for index := 0; ; index++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", index, err)
		}
		var header metav1.TypeMeta
		if err := yaml.Unmarshal(document, &header); err != nil {
			return nil, fmt.Errorf("document %d: %w", index, err)
		}
		if header.Kind == "" && header.APIVersion == "" {
			if len(bytes.TrimSpace(document)) == 0 || onlyComments(document) {
				continue
			}
			return nil, fmt.Errorf("document %d: no apiVersion and kind", index)
		}
		item, err := parseDocument(header, document)
		if err != nil {
			return nil, fmt.Errorf("document %d (%s): %w", index, header.Kind, err)
		}
		objects = append(objects, item)
	}
}

func parseDocument(header metav1.TypeMeta, document []byte) (object, error) {
	group, _, _ := strings.Cut(header.APIVersion, "/")
	if strings.HasSuffix(group, "istio.io") || group == "gateway.networking.k8s.io" {
		configs, others, err := crd.ParseInputs(string(document))
		if err != nil {
			return object{}, err
		}
		if len(configs) != 1 || len(others) != 0 {
			return object{}, fmt.Errorf("istiod does not know %s %s", header.APIVersion, header.Kind)
		}
		item := configs[0]
		if item.Namespace == "" {
			item.Namespace = metav1.NamespaceDefault
		}
		// The domain is what istiod's own CRD client sets; short host names are expanded with it.
		item.Domain = "cluster.local"
		return object{key: strings.Join([]string{header.Kind, item.Namespace, item.Name}, "/"), istio: &item}, nil
	}
	decoded, _, err := kubelib.IstioCodec.UniversalDeserializer().Decode(document, nil, nil)
	if err != nil {
		return object{}, err
	}
	return kubeObject(decoded, header.Kind)
}

var clusterScoped = map[string]bool{"Namespace": true, "Node": true}

func kubeObject(decoded runtime.Object, kind string) (object, error) {
	accessor, err := meta.Accessor(decoded)
	if err != nil {
		return object{}, err
	}
	if accessor.GetNamespace() == "" && !clusterScoped[kind] {
		accessor.SetNamespace(metav1.NamespaceDefault)
	}
	key := strings.Join([]string{kind, accessor.GetNamespace(), accessor.GetName()}, "/")
	return object{key: key, kube: decoded}, nil
}

func onlyComments(document []byte) bool {
	for _, line := range bytes.Split(document, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}
