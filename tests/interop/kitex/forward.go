package main

import (
	"context"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"
	"github.com/cloudwego/kitex/transport"
	"github.com/kitex-contrib/obs-opentelemetry/tracing"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	"pyrpc-xds/tests/interop/kitex/kitex_gen/pyrpc/test/echo"
	echoservice "pyrpc-xds/tests/interop/kitex/kitex_gen/pyrpc/test/echo/echo"
)

// forwarding is a service in the middle of a chain: Seen is what the next server saw. Its call goes out with the
// context of the one that came, as any Kitex service's does.
type forwarding struct {
	handler
	next echoservice.Client
}

func newForwarding(address string, telemetry bool) (*forwarding, error) {
	options := []client.Option{
		client.WithHostPorts(address),
		client.WithTransportProtocol(transport.TTHeader),
		client.WithMetaHandler(transmeta.ClientTTHeaderHandler),
		client.WithClientBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "kitex-peer-middle"}),
		client.WithConnectTimeout(5 * time.Second),
	}
	if telemetry {
		options = append(options, client.WithSuite(tracing.NewClientSuite()))
	}
	next, err := echoservice.NewClient("echo", options...)
	return &forwarding{next: next}, err
}

// Seen replaces the baggage where the transient metainfo set-baggage says so; "none" leaves none.
func (each *forwarding) Seen(ctx context.Context) (*echo.Seen, error) {
	if text, exists := metainfo.GetValue(ctx, "set-baggage"); exists {
		bag := baggage.Baggage{}
		if text != "none" {
			var err error
			if bag, err = baggage.Parse(text); err != nil {
				return nil, err
			}
		}
		ctx = baggage.ContextWithBaggage(ctx, bag)
	}
	return each.next.Seen(ctx)
}

// withTelemetry is OpenTelemetry as kitex-contrib has it, in W3C's forms.
func withTelemetry() server.Option {
	otel.SetTracerProvider(trace.NewTracerProvider())
	otel.SetTextMapPropagator(
		propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	return server.WithSuite(tracing.NewServerSuite())
}
