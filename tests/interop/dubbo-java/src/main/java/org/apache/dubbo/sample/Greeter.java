package org.apache.dubbo.sample;

import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.sample.GreeterOuterClass.HelloRequest;
import org.apache.dubbo.sample.GreeterOuterClass.User;

/**
 * The service of idl/greeter.proto, by hand, because Dubbo's own generator is not among the artifacts of 3.3.4. The
 * .proto's names for the methods are in {@link GreeterStub}.
 */
public interface Greeter {
    User sayHello(HelloRequest request);

    void sayHelloServerStream(HelloRequest request, StreamObserver<User> answers);

    StreamObserver<HelloRequest> sayHelloClientStream(StreamObserver<User> answers);

    StreamObserver<HelloRequest> sayHelloStream(StreamObserver<User> answers);
}
