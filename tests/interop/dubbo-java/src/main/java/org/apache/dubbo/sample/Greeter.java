package org.apache.dubbo.sample;

import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.sample.GreeterOuterClass.HelloRequest;
import org.apache.dubbo.sample.GreeterOuterClass.User;

/**
 * The service of idl/greeter.proto, by hand, because Dubbo's own generator is not among the artifacts of 3.3.4.
 *
 * <p>The methods have the names of the .proto and not Java's, because without that generator they are what Dubbo sends.
 */
public interface Greeter {
    User SayHello(HelloRequest request);

    void SayHelloServerStream(HelloRequest request, StreamObserver<User> answers);

    StreamObserver<HelloRequest> SayHelloClientStream(StreamObserver<User> answers);

    StreamObserver<HelloRequest> SayHelloStream(StreamObserver<User> answers);
}
