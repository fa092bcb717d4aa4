package peer;

import com.alibaba.fastjson2.JSON;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.TriRpcStatus;
import org.apache.dubbo.sample.Greeter;
import org.apache.dubbo.sample.GreeterOuterClass.HelloRequest;
import org.apache.dubbo.sample.GreeterOuterClass.User;

/** Does what the names of its requests tell it to: see tests/interop/peers/greeter.py. */
public final class GreeterImpl implements Greeter {
    private final String id;

    GreeterImpl(String id) {
        this.id = id;
    }

    @Override
    public User SayHello(HelloRequest request) {
        String[] parts = request.getName().split(":", 2);
        String rest = parts.length > 1 ? parts[1] : "";
        switch (parts[0]) {
            case "attachments":
                return user(JSON.toJSONString(attachments()), 21);
            case "reply":
                String[] pair = rest.split("=", 2);
                RpcContext.getServerResponseContext().setAttachment(pair[0], pair[1]);
                break;
            case "error":
                String[] error = rest.split(":", 2);
                throw TriRpcStatus.fromCode(Integer.parseInt(error[0])).withDescription(error[1]).asException();
            case "plain":
                throw new IllegalStateException(rest);
            case "panic":
                throw new AssertionError(rest);
            case "sleep":
                try {
                    Thread.sleep(Long.parseLong(rest));
                } catch (InterruptedException interrupted) {
                    throw new IllegalStateException(interrupted);
                }
                break;
            case "deadline":
                Object timeout = RpcContext.getServerAttachment().getObjectAttachment("timeout");
                return user(timeout == null ? "none" : timeout.toString(), 21);
            default:
        }
        return user("Hello " + request.getName(), 21);
    }

    private static Map<String, Object> attachments() {
        Map<String, Object> found = new TreeMap<>();
        RpcContext.getServerAttachment()
                .getObjectAttachments()
                .forEach((name, value) -> found.put(name, value instanceof byte[] bytes ? hex(bytes) : value));
        return found;
    }

    private static String hex(byte[] bytes) {
        return "hex:" + java.util.HexFormat.of().formatHex(bytes);
    }

    @Override
    public void SayHelloServerStream(HelloRequest request, StreamObserver<User> answers) {
        answers.onNext(user(request.getName(), 0));
        try {
            for (int number = 1; number < 3; number++) {
                answers.onNext(SayHello(request).toBuilder().setAge(number).build());
            }
        } catch (RuntimeException error) {
            answers.onError(error);
            return;
        }
        answers.onCompleted();
    }

    @Override
    public StreamObserver<HelloRequest> SayHelloClientStream(StreamObserver<User> answers) {
        List<String> names = new ArrayList<>();
        return new Requests(answers) {
            @Override
            void each(HelloRequest request) {
                SayHello(request);
                names.add(request.getName());
            }

            @Override
            public void onCompleted() {
                answers.onNext(user("Hello " + String.join(", ", names), 21));
                answers.onCompleted();
            }
        };
    }

    @Override
    public StreamObserver<HelloRequest> SayHelloStream(StreamObserver<User> answers) {
        return new Requests(answers) {
            @Override
            void each(HelloRequest request) {
                answers.onNext(SayHello(request));
            }

            @Override
            public void onCompleted() {
                answers.onCompleted();
            }
        };
    }

    private User user(String name, int age) {
        return User.newBuilder().setName(name).setId(id).setAge(age).build();
    }

    /** Tells the caller of errors. */
    private abstract static class Requests implements StreamObserver<HelloRequest> {
        private final StreamObserver<User> answers;

        Requests(StreamObserver<User> answers) {
            this.answers = answers;
        }

        abstract void each(HelloRequest request);

        @Override
        public void onNext(HelloRequest request) {
            try {
                each(request);
            } catch (RuntimeException error) {
                answers.onError(error);
            }
        }

        @Override
        public void onError(Throwable error) {}
    }
}
