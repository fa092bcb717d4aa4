package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"

	"pyrpc-xds/tests/interop/kitex/kitex_gen/pyrpc/test/base"
	"pyrpc-xds/tests/interop/kitex/kitex_gen/pyrpc/test/echo"
	echoservice "pyrpc-xds/tests/interop/kitex/kitex_gen/pyrpc/test/echo/echo"
)

func serve(arguments []string) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	withoutMeta := flags.Bool("no-ttheader-meta", false, "leave out ServerTTHeaderHandler, as Kitex does by default")
	next := flags.String("next", "", "ask this server, host:port, what is seen")
	telemetry := flags.Bool("otel", false, "with kitex-contrib/obs-opentelemetry, which samples every trace")
	mux := flags.Bool("mux", false, "answer the calls of one connection as they end (WithMuxTransport)")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	options := []server.Option{
		server.WithListener(listener),
		server.WithMetaHandler(keepTransInfo{}),
		server.WithEnableContextTimeout(true),
		server.WithServerBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "kitex-peer"}),
	}
	if !*withoutMeta {
		options = append(options, server.WithMetaHandler(transmeta.ServerTTHeaderHandler))
	}
	if *mux {
		options = append(options, server.WithMuxTransport())
	}
	if *telemetry {
		options = append(options, withTelemetry())
	}
	var service echo.Echo = &handler{}
	if *next != "" {
		if service, err = newForwarding(*next, *telemetry); err != nil {
			return err
		}
	}
	ready, err := json.Marshal(map[string]string{"address": listener.Addr().String()})
	if err != nil {
		return err
	}
	fmt.Println(string(ready))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return echoservice.NewServer(service, options...).Run()
}

type transInfoKey struct{}

type transInfo struct {
	transport string
	ints      map[uint16]string
	strings   map[string]string
}

// keepTransInfo keeps, for the handler, all the header of a TTHeader request, also what Kitex itself ignores, and
// the transport as it was sniffed (that of rpcinfo is what the answer would begin with).
type keepTransInfo struct{}

func (keepTransInfo) ReadMeta(ctx context.Context, message remote.Message) (context.Context, error) {
	kept := transInfo{message.ProtocolInfo().TransProto.String(), map[uint16]string{}, map[string]string{}}
	for key, value := range message.TransInfo().TransIntInfo() {
		kept.ints[key] = value
	}
	for key, value := range message.TransInfo().TransStrInfo() {
		kept.strings[key] = value
	}
	return context.WithValue(ctx, transInfoKey{}, kept), nil
}

func (keepTransInfo) WriteMeta(ctx context.Context, _ remote.Message) (context.Context, error) {
	return ctx, nil
}

type handler struct {
	lock  sync.Mutex
	fires []string
}

func (*handler) Ping(_ context.Context, text string) (string, error) { return text, nil }

func (*handler) Tag(_ context.Context, tag *base.Tag) (*base.Tag, error) {
	if tag.Key == "refuse" {
		return nil, &base.Refused{Why: tag.GetValue(), Code: 1}
	}
	return tag, nil
}

func (*handler) EchoBool(_ context.Context, value bool) (bool, error)            { return value, nil }
func (*handler) EchoByte(_ context.Context, value int8) (int8, error)            { return value, nil }
func (*handler) EchoI16(_ context.Context, value int16) (int16, error)           { return value, nil }
func (*handler) EchoI32(_ context.Context, value int32) (int32, error)           { return value, nil }
func (*handler) EchoI64(_ context.Context, value int64) (int64, error)           { return value, nil }
func (*handler) EchoDouble(_ context.Context, value float64) (float64, error)    { return value, nil }
func (*handler) EchoString(_ context.Context, value string) (string, error)      { return value, nil }
func (*handler) EchoBinary(_ context.Context, value []byte) ([]byte, error)      { return value, nil }
func (*handler) EchoId(_ context.Context, value base.Id) (base.Id, error)        { return value, nil }
func (*handler) EchoList(_ context.Context, value []string) ([]string, error)    { return value, nil }
func (*handler) EchoSet(_ context.Context, value []int32) ([]int32, error)       { return value, nil }
func (*handler) EchoShape(_ context.Context, v *echo.Shape) (*echo.Shape, error) { return v, nil }
func (*handler) EchoTree(_ context.Context, v *echo.Tree) (*echo.Tree, error)    { return v, nil }

func (*handler) EchoColor(_ context.Context, value base.Color) (base.Color, error) {
	return value, nil
}

func (*handler) EchoMap(_ context.Context, value map[int64]*base.Tag) (map[int64]*base.Tag, error) {
	return value, nil
}

func (*handler) EchoScalars(_ context.Context, value *echo.Scalars) (*echo.Scalars, error) {
	return value, nil
}

func (*handler) EchoContainers(_ context.Context, value *echo.Containers) (*echo.Containers, error) {
	return value, nil
}

func (*handler) EchoPresence(_ context.Context, value *echo.Presence) (*echo.Presence, error) {
	return value, nil
}

func (*handler) EchoEverything(_ context.Context, value *echo.Everything) (*echo.Everything, error) {
	return value, nil
}

func (*handler) Describe(_ context.Context, value *echo.Everything) (string, error) {
	text, err := json.Marshal(render(reflect.ValueOf(value)))
	return string(text), err
}

func (*handler) Nothing(context.Context) error { return nil }

func (*handler) Subtract(_ context.Context, left, right int64) (int64, error) {
	return left - right, nil
}

func (*handler) Fail(_ context.Context, how, text string) (string, error) {
	switch how {
	case "refused":
		return "", &base.Refused{Why: text, Code: -7}
	case "overloaded":
		return "", &echo.Overloaded{Limit: 1 << 40, Detail: []byte(text)}
	}
	return text, nil
}

func (*handler) Check(_ context.Context, good bool) error {
	if good {
		return nil
	}
	return &base.Refused{Why: "not good", Code: 2}
}

func (*handler) Undeclared(_ context.Context, text string) (string, error) {
	return "", errors.New("undeclared " + text)
}

func (*handler) Panics(_ context.Context, text string) (string, error) { panic("panic " + text) }

// Sleep ends early where the request has a deadline that passes.
func (*handler) Sleep(ctx context.Context, milliseconds int64) (string, error) {
	select {
	case <-time.After(time.Duration(milliseconds) * time.Millisecond):
		return "slept", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (each *handler) Fire(_ context.Context, text string) error {
	each.lock.Lock()
	defer each.lock.Unlock()
	each.fires = append(each.fires, text)
	return nil
}

func (each *handler) Fired(context.Context) ([]string, error) {
	each.lock.Lock()
	defer each.lock.Unlock()
	// A nil slice would be no result at all.
	fired := append([]string{}, each.fires...)
	each.fires = nil
	return fired, nil
}

func (*handler) Seen(ctx context.Context) (*echo.Seen, error) {
	info := rpcinfo.GetRPCInfo(ctx)
	seen := &echo.Seen{
		Transients:  metainfo.GetAllValues(ctx),
		Persistents: metainfo.GetAllPersistentValues(ctx),
		FromService: info.From().ServiceName(),
		FromMethod:  info.From().Method(),
		TimeoutMs:   info.Config().RPCTimeout().Milliseconds(),
		RemainingMs: -1,
		Ints:        map[int32]string{},
		Strings:     map[string]string{},
	}
	if deadline, exists := ctx.Deadline(); exists {
		seen.RemainingMs = time.Until(deadline).Milliseconds()
	}
	if kept, exists := ctx.Value(transInfoKey{}).(transInfo); exists {
		for key, value := range kept.ints {
			seen.Ints[int32(key)] = value
		}
		seen.Strings, seen.Transport = kept.strings, kept.transport
	}
	return seen, nil
}

func (*handler) Back(ctx context.Context, backward base.Words, how string) (string, error) {
	if !metainfo.SendBackwardValuesFromMap(ctx, backward) && len(backward) > 0 {
		return "", errors.New("this request cannot carry backward metainfo")
	}
	switch how {
	case "refused":
		return "", &base.Refused{Why: "with backward metainfo", Code: 3}
	case "undeclared":
		return "", errors.New("undeclared, with backward metainfo")
	}
	return "sent", nil
}

func (*handler) Biz(_ context.Context, status int32, message string, extra base.Words) (string, error) {
	if len(extra) > 0 {
		return "", kerrors.NewBizStatusErrorWithExtra(status, message, extra)
	}
	return "", kerrors.NewBizStatusError(status, message)
}
