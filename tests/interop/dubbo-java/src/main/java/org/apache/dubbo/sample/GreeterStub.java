package org.apache.dubbo.sample;

import com.google.protobuf.Message;
import java.util.HashMap;
import java.util.Map;
import java.util.function.BiConsumer;
import org.apache.dubbo.common.URL;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.rpc.Invoker;
import org.apache.dubbo.rpc.PathResolver;
import org.apache.dubbo.rpc.ServerService;
import org.apache.dubbo.rpc.model.MethodDescriptor.RpcType;
import org.apache.dubbo.rpc.model.ServiceDescriptor;
import org.apache.dubbo.rpc.model.StubMethodDescriptor;
import org.apache.dubbo.rpc.model.StubServiceDescriptor;
import org.apache.dubbo.rpc.stub.BiStreamMethodHandler;
import org.apache.dubbo.rpc.stub.ServerStreamMethodHandler;
import org.apache.dubbo.rpc.stub.StubInvocationUtil;
import org.apache.dubbo.rpc.stub.StubInvoker;
import org.apache.dubbo.rpc.stub.StubMethodHandler;
import org.apache.dubbo.rpc.stub.StubSuppliers;
import org.apache.dubbo.rpc.stub.UnaryStubMethodHandler;
import org.apache.dubbo.sample.GreeterOuterClass.HelloRequest;
import org.apache.dubbo.sample.GreeterOuterClass.User;

/** Makes Dubbo treat {@link Greeter} as a service of a .proto: the part of a generated stub. */
public final class GreeterStub {
    private static final String NAME = Greeter.class.getName();
    private static final StubServiceDescriptor SERVICE = new StubServiceDescriptor(NAME, Greeter.class);
    private static final StubMethodDescriptor UNARY = method("SayHello", RpcType.UNARY);
    private static final StubMethodDescriptor SERVER_STREAM = method("SayHelloServerStream", RpcType.SERVER_STREAM);
    private static final StubMethodDescriptor CLIENT_STREAM = method("SayHelloClientStream", RpcType.CLIENT_STREAM);
    private static final StubMethodDescriptor BIDI = method("SayHelloStream", RpcType.BI_STREAM);

    private GreeterStub() {}

    private static StubMethodDescriptor method(String name, RpcType type) {
        StubMethodDescriptor made = new StubMethodDescriptor(
                name,
                HelloRequest.class,
                User.class,
                type,
                value -> ((Message) value).toByteArray(),
                value -> ((Message) value).toByteArray(),
                HelloRequest::parseFrom,
                User::parseFrom);
        SERVICE.addMethod(made);
        return made;
    }

    /** Lets references with the proxy "nativestub" find this. */
    public static void register() {
        StubSuppliers.addDescriptor(NAME, SERVICE);
        StubSuppliers.addSupplier(NAME, Client::new);
    }

    private record Client(Invoker<?> invoker) implements Greeter {
        @Override
        public User sayHello(HelloRequest request) {
            return StubInvocationUtil.unaryCall(invoker, UNARY, request);
        }

        @Override
        public void sayHelloServerStream(HelloRequest request, StreamObserver<User> answers) {
            StubInvocationUtil.serverStreamCall(invoker, SERVER_STREAM, request, answers);
        }

        @Override
        public StreamObserver<HelloRequest> sayHelloClientStream(StreamObserver<User> answers) {
            return StubInvocationUtil.biOrClientStreamCall(invoker, CLIENT_STREAM, answers);
        }

        @Override
        public StreamObserver<HelloRequest> sayHelloStream(StreamObserver<User> answers) {
            return StubInvocationUtil.biOrClientStreamCall(invoker, BIDI, answers);
        }
    }

    /** What an implementation extends. */
    public abstract static class Base implements Greeter, ServerService<Greeter> {
        @Override
        public Invoker<Greeter> getInvoker(URL url) {
            PathResolver resolver = url.getOrDefaultFrameworkModel()
                    .getExtensionLoader(PathResolver.class)
                    .getDefaultExtension();
            BiConsumer<HelloRequest, StreamObserver<User>> unary = (request, answers) -> {
                try {
                    answers.onNext(sayHello(request));
                    answers.onCompleted();
                } catch (Throwable error) {
                    answers.onError(error);
                }
            };
            Map<String, StubMethodHandler<?, ?>> handlers = new HashMap<>();
            handlers.put(UNARY.getMethodName(), new UnaryStubMethodHandler<>(unary));
            handlers.put(SERVER_STREAM.getMethodName(), new ServerStreamMethodHandler<>(this::sayHelloServerStream));
            handlers.put(CLIENT_STREAM.getMethodName(), new BiStreamMethodHandler<>(this::sayHelloClientStream));
            handlers.put(BIDI.getMethodName(), new BiStreamMethodHandler<>(this::sayHelloStream));
            handlers.keySet().forEach(name -> resolver.addNativeStub("/" + NAME + "/" + name));
            return new StubInvoker<>(this, url, Greeter.class, handlers);
        }

        @Override
        public ServiceDescriptor getServiceDescriptor() {
            return SERVICE;
        }
    }
}
