package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/client/callopt"
	"github.com/cloudwego/kitex/pkg/connpool"
	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/transport"

	echoservice "pyrpc-xds/tests/interop/kitex/kitex_gen/pyrpc/test/echo/echo"
)

// Call is one entry of the list on standard input: one method called Count times. The entries run one after
// another; those of equal Transport, Mux, Short and NoMeta share a client and so its connections.
type Call struct {
	// PurePayload, Framed, TTHeader or TTHeaderFramed.
	Transport string `json:"transport"`
	// Many calls on one connection at a time (needs TTHeader).
	Mux bool `json:"mux"`
	// A connection for each call.
	Short bool `json:"short"`
	// Without ClientTTHeaderHandler, as Kitex is by default: no int keys and no business status.
	NoMeta bool `json:"no_meta"`

	Method string `json:"method"`
	// Hex of the struct of the arguments in the binary protocol; call i has Arguments[i % len(Arguments)].
	Arguments   []string `json:"arguments"`
	Count       int      `json:"count"`
	Concurrency int      `json:"concurrency"`
	TimeoutMs   int      `json:"timeout_ms"`

	Transient  map[string]string `json:"transient"`
	Persistent map[string]string `json:"persistent"`
	// Added to the header of TTHeader as they are.
	Ints    map[uint16]string `json:"ints"`
	Strings map[string]string `json:"strings"`
}

// Outcome is what came back of one call. The client prints, for each Call, the list of its outcomes in order.
type Outcome struct {
	// The struct of the result (success or an exception of the IDL) as render has it.
	Result any       `json:"result"`
	Error  *Failure  `json:"error"`
	Status *Business `json:"status"`
	// What metainfo gives user code, and the whole header of a TTHeader answer.
	Backward map[string]string `json:"backward"`
	Ints     map[uint16]string `json:"ints"`
	Strings  map[string]string `json:"strings"`
	// The transport that Kitex says it has used.
	Transport    string  `json:"transport"`
	Milliseconds float64 `json:"milliseconds"`
}

// Failure is an error that the IDL does not declare.
type Failure struct {
	// application (TApplicationException), timeout or other.
	Kind string `json:"kind"`
	Type int32  `json:"type"`
	Text string `json:"text"`
}

// Business is a business status.
type Business struct {
	Status  int32             `json:"status"`
	Message string            `json:"message"`
	Extra   map[string]string `json:"extra"`
}

func call(arguments []string) error {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	address := flags.String("address", "", "of the server, host:port")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var calls []Call
	if err := json.Unmarshal(text, &calls); err != nil {
		return fmt.Errorf("the list of calls: %w", err)
	}
	clients := clients{}
	outcomes := make([][]Outcome, len(calls))
	for i := range calls {
		kitex, err := clients.of(&calls[i], *address)
		if err != nil {
			return err
		}
		if outcomes[i], err = calls[i].make(kitex); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(outcomes)
}

var transports = map[string]transport.Protocol{
	"PurePayload":    transport.PurePayload,
	"Framed":         transport.Framed,
	"TTHeader":       transport.TTHeader,
	"TTHeaderFramed": transport.TTHeaderFramed,
}

type kind struct {
	transport          string
	mux, short, noMeta bool
}

type clients map[kind]client.Client

func (made clients) of(call *Call, address string) (client.Client, error) {
	kind := kind{call.Transport, call.Mux, call.Short, call.NoMeta}
	if kitex, exists := made[kind]; exists {
		return kitex, nil
	}
	protocol, exists := transports[call.Transport]
	if !exists {
		return nil, fmt.Errorf("transport %q is not known", call.Transport)
	}
	options := []client.Option{
		client.WithDestService("echo"),
		client.WithHostPorts(address),
		client.WithClientBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "kitex-peer-client"}),
		client.WithConnectTimeout(5 * time.Second),
	}
	switch {
	case call.Mux:
		options = append(options, client.WithMuxConnection(1))
	case call.Short:
		options = append(options, client.WithShortConnection())
	default:
		options = append(options, client.WithLongConnection(connpool.IdleConfig{
			MaxIdlePerAddress: 64, MaxIdleGlobal: 64, MaxIdleTimeout: time.Minute,
		}))
	}
	// A client begins with Framed and options add to it, but for PurePayload, which starts anew.
	options = append(options, client.WithTransportProtocol(transport.PurePayload))
	if protocol != transport.PurePayload {
		options = append(options, client.WithTransportProtocol(protocol))
	}
	if !call.NoMeta {
		options = append(options, client.WithMetaHandler(transmeta.ClientTTHeaderHandler))
	}
	options = append(options, client.WithMetaHandler(headers{}), client.WithMiddleware(noteTransport))
	kitex, err := client.NewClient(echoservice.NewServiceInfoForClient(), options...)
	if err == nil {
		made[kind] = kitex
	}
	return kitex, err
}

func (call *Call) make(kitex client.Client) ([]Outcome, error) {
	method := echoservice.NewServiceInfoForClient().MethodInfo(call.Method)
	if method == nil {
		return nil, fmt.Errorf("the service has no method %q", call.Method)
	}
	arguments := make([][]byte, len(call.Arguments))
	for i, text := range call.Arguments {
		data, err := hex.DecodeString(text)
		if err != nil {
			return nil, err
		}
		if _, err := method.NewArgs().(reader).FastRead(data); err != nil {
			return nil, fmt.Errorf("arguments of %s: %w", call.Method, err)
		}
		arguments[i] = data
	}
	outcomes := make([]Outcome, max(call.Count, 1))
	var next atomic.Int64
	var callers sync.WaitGroup
	for range min(max(call.Concurrency, 1), len(outcomes)) {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(outcomes) {
					return
				}
				request := method.NewArgs()
				if len(arguments) > 0 {
					_, _ = request.(reader).FastRead(arguments[i%len(arguments)])
				}
				var result any
				if !method.OneWay() {
					result = method.NewResult()
				}
				outcomes[i] = call.once(kitex, request, result)
			}
		}()
	}
	callers.Wait()
	return outcomes, nil
}

type reader interface {
	FastRead([]byte) (int, error)
}

func (call *Call) once(kitex client.Client, request, result any) Outcome {
	ctx := metainfo.WithBackwardValues(context.Background())
	for key, value := range call.Transient {
		ctx = metainfo.WithValue(ctx, key, value)
	}
	for key, value := range call.Persistent {
		ctx = metainfo.WithPersistentValue(ctx, key, value)
	}
	exchanged := &exchange{send: call}
	ctx = context.WithValue(ctx, exchangeKey{}, exchanged)
	if call.TimeoutMs > 0 {
		timeout := callopt.WithRPCTimeout(time.Duration(call.TimeoutMs) * time.Millisecond)
		ctx = client.NewCtxWithCallOptions(ctx, []callopt.Option{timeout})
	}

	started := time.Now()
	err := kitex.Call(ctx, call.Method, request, result)
	outcome := Outcome{
		Milliseconds: float64(time.Since(started).Microseconds()) / 1000,
		Backward:     metainfo.RecvAllBackwardValues(ctx),
	}
	exchanged.lock.Lock()
	outcome.Ints, outcome.Strings, outcome.Transport = exchanged.ints, exchanged.strings, exchanged.transport
	exchanged.lock.Unlock()
	if status, is := kerrors.FromBizStatusError(err); is {
		outcome.Status = &Business{status.BizStatusCode(), status.BizMessage(), status.BizExtra()}
	} else if err != nil {
		outcome.Error = failure(err)
		return outcome // after a timeout, Kitex may still be writing to result
	}
	if result != nil {
		outcome.Result = render(reflect.ValueOf(result))
	}
	return outcome
}

func failure(err error) *Failure {
	var application *remote.TransError
	switch {
	case kerrors.IsTimeoutError(err):
		return &Failure{Kind: "timeout", Text: err.Error()}
	case errors.As(err, &application):
		return &Failure{Kind: "application", Type: application.TypeID(), Text: err.Error()}
	}
	return &Failure{Kind: "other", Text: err.Error()}
}

type exchangeKey struct{}

// exchange is what headers adds to a request and finds in the answer. The lock: after a timeout, Kitex goes on
// in the background.
type exchange struct {
	send      *Call
	lock      sync.Mutex
	ints      map[uint16]string
	strings   map[string]string
	transport string
}

type headers struct{}

func (headers) WriteMeta(ctx context.Context, message remote.Message) (context.Context, error) {
	if each, is := ctx.Value(exchangeKey{}).(*exchange); is {
		message.TransInfo().PutTransIntInfo(each.send.Ints)
		message.TransInfo().PutTransStrInfo(each.send.Strings)
	}
	return ctx, nil
}

func (headers) ReadMeta(ctx context.Context, message remote.Message) (context.Context, error) {
	if each, is := ctx.Value(exchangeKey{}).(*exchange); is {
		each.lock.Lock()
		defer each.lock.Unlock()
		each.ints, each.strings = map[uint16]string{}, map[string]string{}
		for key, value := range message.TransInfo().TransIntInfo() {
			each.ints[key] = value
		}
		for key, value := range message.TransInfo().TransStrInfo() {
			each.strings[key] = value
		}
	}
	return ctx, nil
}

func noteTransport(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request, response any) error {
		if each, is := ctx.Value(exchangeKey{}).(*exchange); is {
			each.lock.Lock()
			each.transport = rpcinfo.GetRPCInfo(ctx).Config().TransportProtocol().String()
			each.lock.Unlock()
		}
		return next(ctx, request, response)
	}
}
