package peer;

import com.alibaba.fastjson2.JSON;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.TriRpcStatus;
import org.apache.dubbo.sample.GreeterOuterClass.HelloRequest;
import org.apache.dubbo.sample.GreeterOuterClass.User;
import org.apache.dubbo.sample.GreeterStub;

/** Does what the names of its requests tell it to: see tests/interop/peers/greeter.py. Of deadlines it is not told. */
public final class GreeterImpl extends GreeterStub.Base {
    private final String id;

    GreeterImpl(String id) {
        this.id = id;
    }

    @Override
    public User sayHello(HelloRequest request) {
        return answer(request, attachments());
    }

    private User answer(HelloRequest request, Map<String, Object> attachments) {
        String[] parts = request.getName().split(":", 2);
        String rest = parts.length > 1 ? parts[1] : "";
        switch (parts[0]) {
            case "attachments":
                return user(JSON.toJSONString(attachments), 21);
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
        return "hex:" + HexFormat.of().formatHex(bytes);
    }

    @Override
    public void sayHelloServerStream(HelloRequest request, StreamObserver<User> answers) {
        answers.onNext(user(request.getName(), 0));
        try {
            for (int number = 1; number < 3; number++) {
                answers.onNext(sayHello(request).toBuilder().setAge(number).build());
            }
        } catch (RuntimeException error) {
            answers.onError(error);
            return;
        }
        answers.onCompleted();
    }

    @Override
    public StreamObserver<HelloRequest> sayHelloClientStream(StreamObserver<User> answers) {
        List<String> names = new ArrayList<>();
        return new Requests(answers) {
            @Override
            void each(HelloRequest request) {
                answer(request, attachments);
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
    public StreamObserver<HelloRequest> sayHelloStream(StreamObserver<User> answers) {
        return new Requests(answers) {
            @Override
            void each(HelloRequest request) {
                answers.onNext(answer(request, attachments));
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
        // Of the call; where its requests come there is no context.
        final Map<String, Object> attachments = GreeterImpl.attachments();

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
