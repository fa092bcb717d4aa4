package peer;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.common.constants.CommonConstants;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.StatusRpcException;
import org.apache.dubbo.rpc.TriRpcStatus;
import org.apache.dubbo.sample.Greeter;
import org.apache.dubbo.sample.GreeterOuterClass.HelloRequest;
import org.apache.dubbo.sample.GreeterOuterClass.User;
import org.apache.dubbo.sample.GreeterStub;
import org.apache.dubbo.sample.Plain;

/** The client: answers each line of input, a call, with its outcome; tests/interop/peers/calls.py has the fields. */
final class Client {
    private static final long ANSWER_SECONDS = 30;
    // Ends the answers of a stream.
    private static final Object COMPLETED = new Object();

    private final Map<String, Greeter> references = new HashMap<>();
    private final Map<String, Plain> plains = new HashMap<>();

    static void serve() throws Exception {
        Client client = new Client();
        GreeterStub.register();
        DubboBootstrap.getInstance().application(Server.application()).start();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Main.say(client.outcome(JSON.parseObject(line)));
        }
    }

    private Greeter greeter(JSONObject call) {
        String address = call.getString("address");
        Integer timeout = call.containsKey("timeout") ? (int) (call.getDoubleValue("timeout") * 1000) : null;
        String group = call.getString("group");
        String version = call.getString("version");
        Integer retries = call.getInteger("retries");
        String key = List.of(address, timeout + "", group + "", version + "", retries + "").toString();
        return references.computeIfAbsent(key, unused -> {
            ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
            reference.setInterface(Greeter.class);
            reference.setUrl("tri://" + address);
            reference.setCheck(false);
            reference.setProxy(CommonConstants.NATIVE_STUB);
            if (timeout != null) {
                reference.setTimeout(timeout);
            }
            if (group != null) {
                reference.setGroup(group);
            }
            if (version != null) {
                reference.setVersion(version);
            }
            if (retries != null) {
                reference.setRetries(retries);
            }
            return reference.get(false);
        });
    }

    private Plain plain(JSONObject call) {
        String address = call.getString("address");
        String serialization = call.getString("encoding");
        return plains.computeIfAbsent(address + " " + serialization, unused -> {
            ReferenceConfig<Plain> reference = new ReferenceConfig<>();
            reference.setInterface(Plain.class);
            reference.setUrl(String.format(
                    "tri://%s?serialization=%s&prefer.serialization=%s", address, serialization, serialization));
            reference.setCheck(false);
            reference.setRetries(0);
            return reference.get(false);
        });
    }

    private Object result(JSONObject call) {
        Plain plain = plain(call);
        JSONArray arguments = call.getJSONArray("arguments");
        switch (call.getString("method")) {
            case "greet":
                return plain.greet(arguments.getString(0));
            case "add":
                return plain.add(arguments.getLongValue(0), arguments.getLongValue(1));
            case "person":
                return plain.person(new HashMap<>(arguments.getJSONObject(0)));
            default:
                return plain.refuse(arguments.getString(0));
        }
    }

    private Map<String, Object> outcome(JSONObject call) {
        List<Map<String, Object>> users = new ArrayList<>();
        Map<String, Object> outcome = new LinkedHashMap<>();
        outcome.put("users", users);
        outcome.put("code", 0);
        outcome.put("message", "");
        try {
            JSONObject attachments = call.getJSONObject("attachments");
            if (attachments != null) {
                attachments.forEach(Client::attach);
            }
            if (call.getString("kind").equals("plain")) {
                outcome.put("result", result(call));
            } else {
                make(greeter(call), call, users);
            }
        } catch (Throwable error) {
            fail(outcome, error);
        }
        Map<String, Object> trailing = new LinkedHashMap<>();
        RpcContext.getClientResponseContext()
                .getObjectAttachments()
                .forEach((name, value) -> trailing.put(name, List.of(String.valueOf(value))));
        outcome.put("trailing", trailing);
        RpcContext.removeContext();
        return outcome;
    }

    /** What ends in "-bin" is binary: Dubbo itself adds that to the name. */
    private static void attach(String name, Object value) {
        if (name.endsWith("-bin")) {
            name = name.substring(0, name.length() - 4);
            value = value.toString().getBytes(StandardCharsets.UTF_8);
        }
        RpcContext.getClientAttachment().setObjectAttachment(name, value);
    }

    private static void make(Greeter greeter, JSONObject call, List<Map<String, Object>> users) throws Throwable {
        List<HelloRequest> requests = call.getList("names", String.class).stream()
                .map(name -> HelloRequest.newBuilder().setName(name).build())
                .toList();
        Answers answers = new Answers();
        switch (call.getString("kind")) {
            case "unary":
                users.add(shown(greeter.sayHello(requests.get(0))));
                return;
            case "server_stream":
                greeter.sayHelloServerStream(requests.get(0), answers);
                break;
            case "client_stream":
                StreamObserver<HelloRequest> all = greeter.sayHelloClientStream(answers);
                requests.forEach(all::onNext);
                all.onCompleted();
                break;
            case "bidi":
                StreamObserver<HelloRequest> each = greeter.sayHelloStream(answers);
                for (HelloRequest request : requests) {
                    each.onNext(request);
                    users.add(shown((User) answers.next()));
                }
                each.onCompleted();
                break;
            default:
                throw new IllegalArgumentException("no such kind of call: " + call.getString("kind"));
        }
        for (Object answer = answers.next(); answer != COMPLETED; answer = answers.next()) {
            users.add(shown((User) answer));
        }
    }

    private static Map<String, Object> shown(User user) {
        return Map.of("name", user.getName(), "id", user.getId(), "age", user.getAge());
    }

    private static void fail(Map<String, Object> outcome, Throwable error) {
        outcome.put("code", -1);
        outcome.put("message", String.valueOf(error.getMessage()));
        outcome.put("exception", error.getClass().getName());
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof StatusRpcException told) {
                TriRpcStatus status = told.getStatus();
                outcome.put("code", status.code.code);
                outcome.put("message", String.valueOf(status.description));
                return;
            }
            if (cause instanceof RpcException rpc) {
                outcome.put("rpc_exception", rpc.getCode());
            }
        }
    }

    /** What a stream answers, to be taken one at a time. */
    private static final class Answers implements StreamObserver<User> {
        private final BlockingQueue<Object> queue = new LinkedBlockingQueue<>();

        Object next() throws Throwable {
            Object answer = queue.poll(ANSWER_SECONDS, TimeUnit.SECONDS);
            if (answer == null) {
                throw new IllegalStateException("no answer in " + ANSWER_SECONDS + " s");
            }
            if (answer instanceof Throwable error) {
                throw error;
            }
            return answer;
        }

        @Override
        public void onNext(User user) {
            queue.add(user);
        }

        @Override
        public void onError(Throwable error) {
            queue.add(error);
        }

        @Override
        public void onCompleted() {
            queue.add(COMPLETED);
        }
    }
}
