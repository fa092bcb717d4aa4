package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"dubbo.apache.org/dubbo-go/v3/client"
	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"

	"pyrpc-xds/tests/interop/dubbo-go/greeter"
	"pyrpc-xds/tests/interop/dubbo-go/plain"
)

// Call is a line of input; tests/interop/peers/calls.py documents the fields.
type Call struct {
	Address     string                 `json:"address"`
	Kind        string                 `json:"kind"`
	Names       []string               `json:"names"`
	Attachments map[string]interface{} `json:"attachments"`
	Timeout     float64                `json:"timeout"`
	Group       string                 `json:"group"`
	Version     string                 `json:"version"`
	Method      string                 `json:"method"`
	Retries     *int                   `json:"retries"`
	Encoding    string                 `json:"encoding"`
	HTTP1       bool                   `json:"http1"`
	Arguments   []interface{}          `json:"arguments"`
}

// Outcome is the line of output that answers it.
type Outcome struct {
	Users   []User      `json:"users"`
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Initial http.Header `json:"initial"`
	Trailer http.Header `json:"trailing"`
	Result  interface{} `json:"result"`
}

// User is a greeter.User.
type User struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Age  int32  `json:"age"`
}

type reference struct {
	address, group, version, encoding string
	http1, plain                      bool
}

// call answers every line of input with a line of output.
func call(input io.Reader, results *json.Encoder) error {
	connections := map[reference]*client.Connection{}
	for lines := json.NewDecoder(input); ; {
		var wanted Call
		if err := lines.Decode(&wanted); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		key := reference{wanted.Address, wanted.Group, wanted.Version, wanted.Encoding, wanted.HTTP1, wanted.Kind == "plain"}
		connection := connections[key]
		if connection == nil {
			var err error
			if connection, err = key.dial(); err != nil {
				return err
			}
			connections[key] = connection
		}
		if err := results.Encode(wanted.outcome(connection)); err != nil {
			return err
		}
	}
}

func (r reference) dial() (*client.Connection, error) {
	made, err := client.NewClient(client.WithClientURL("tri://" + r.address))
	if err != nil {
		return nil, err
	}
	options := []client.ReferenceOption{client.WithGroup(r.group), client.WithVersion(r.version)}
	if r.plain {
		options = append(options, client.WithSerialization(r.encoding))
		return made.DialWithInfo(plain.Name, &plain.ClientInfo, options...)
	}
	if r.encoding == "json" {
		options = append(options, client.WithSerializationJSON())
	}
	if r.http1 {
		options = append(options, client.WithParam(constant.CallHTTPTypeKey, constant.CallHTTP))
	}
	return made.DialWithInfo(greeter.Name, &greeter.ClientInfo, options...)
}

func (c *Call) outcome(connection *client.Connection) *Outcome {
	ctx := context.WithValue(context.Background(), constant.AttachmentKey, c.attachments())
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.Timeout*float64(time.Second)))
		defer cancel()
	}
	result := &Outcome{Users: []User{}}
	if err := c.make(ctx, connection, result); err != nil {
		result.fail(err)
	}
	return result
}

// attachments has a []string for every array, since dubbo-go refuses other types, and base64 for binary ones,
// since dubbo-go leaves that to its user.
func (c *Call) attachments() map[string]interface{} {
	found := map[string]interface{}{}
	for name, value := range c.Attachments {
		if strings.HasSuffix(name, "-bin") {
			value = triple_protocol.EncodeBinaryHeader([]byte(fmt.Sprint(value)))
		}
		if many, ok := value.([]interface{}); ok {
			var texts []string
			for _, each := range many {
				texts = append(texts, fmt.Sprint(each))
			}
			value = texts
		}
		found[name] = value
	}
	return found
}

func (c *Call) make(ctx context.Context, connection *client.Connection, result *Outcome) error {
	var options []client.CallOption
	if c.Retries != nil {
		options = append(options, client.WithCallRetries(*c.Retries))
	}
	method := func(usual string) string {
		if c.Method != "" {
			return c.Method
		}
		return usual
	}
	switch c.Kind {
	case "unary":
		request, user := &greeter.HelloRequest{Name: c.Names[0]}, new(greeter.User)
		err := connection.CallUnary(ctx, []interface{}{request}, user, method(greeter.Unary), options...)
		if err == nil {
			result.add(user)
		}
		return err
	case "plain":
		// The reply has to be of the method's type.
		var arguments []interface{}
		for _, argument := range c.Arguments {
			if number, ok := argument.(float64); ok {
				argument = int64(number)
			}
			arguments = append(arguments, argument)
		}
		if c.Method == plain.Add {
			var sum int64
			err := connection.CallUnary(ctx, arguments, &sum, c.Method, options...)
			result.Result = sum
			return err
		}
		var text string
		err := connection.CallUnary(ctx, arguments, &text, c.Method, options...)
		result.Result = text
		return err
	case "server_stream":
		request := &greeter.HelloRequest{Name: c.Names[0]}
		opened, err := connection.CallServerStream(ctx, request, method(greeter.ServerStream), options...)
		if err != nil {
			return err
		}
		stream := opened.(*triple_protocol.ServerStreamForClient)
		for user := new(greeter.User); stream.Receive(user); user = new(greeter.User) {
			result.add(user)
		}
		result.Initial, result.Trailer = stream.ResponseHeader(), stream.ResponseTrailer()
		return stream.Err()
	case "client_stream":
		opened, err := connection.CallClientStream(ctx, method(greeter.ClientStream), options...)
		if err != nil {
			return err
		}
		stream := opened.(*triple_protocol.ClientStreamForClient)
		for _, name := range c.Names {
			// A server that has ended the call already says why in its answer.
			if err := stream.Send(&greeter.HelloRequest{Name: name}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		user := new(greeter.User)
		answer := triple_protocol.NewResponse(user)
		if err := stream.CloseAndReceive(answer); err != nil {
			return err
		}
		result.add(user)
		result.Initial, result.Trailer = answer.Header(), answer.Trailer()
		return nil
	case "bidi":
		opened, err := connection.CallBidiStream(ctx, method(greeter.BidiStream), options...)
		if err != nil {
			return err
		}
		stream := opened.(*triple_protocol.BidiStreamForClient)
		for _, name := range c.Names {
			if err := stream.Send(&greeter.HelloRequest{Name: name}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			user := new(greeter.User)
			if err := stream.Receive(user); err != nil {
				return err
			}
			result.add(user)
		}
		if err := stream.CloseRequest(); err != nil {
			return err
		}
		if err := stream.Receive(new(greeter.User)); !errors.Is(err, io.EOF) {
			return err
		}
		result.Initial, result.Trailer = stream.ResponseHeader(), stream.ResponseTrailer()
		return stream.CloseResponse()
	}
	return fmt.Errorf("no such kind of call: %q", c.Kind)
}

func (o *Outcome) add(user *greeter.User) {
	o.Users = append(o.Users, User{user.Name, user.Id, user.Age})
}

// fail has -1 for the code of an error that is not Triple's.
func (o *Outcome) fail(err error) {
	o.Code, o.Message = -1, err.Error()
	if told := new(triple_protocol.Error); errors.As(err, &told) {
		// Headers and trailers together: dubbo-go does not keep them apart.
		o.Code, o.Message, o.Trailer = int(told.Code()), told.Message(), told.Meta()
	}
}
