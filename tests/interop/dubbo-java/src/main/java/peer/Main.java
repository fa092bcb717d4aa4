package peer;

import com.alibaba.fastjson2.JSON;
import java.io.PrintStream;

/**
 * A Dubbo Java greeter, server or client:
 *
 * <pre>
 * java ... peer.Main server VERSION [GROUP/VERSION ...]
 * java ... peer.Main client
 * </pre>
 *
 * Both end when their standard input closes. What they have to say goes to standard output as JSON, one value a line.
 *
 * <p>Dubbo listens on every interface whatever it is told: run it in a network namespace of its own.
 */
public final class Main {
    // Everybody else's standard output is standard error.
    private static final PrintStream RESULTS = System.out;

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        System.setOut(System.err);
        if (arguments.length > 1 && arguments[0].equals("server")) {
            Server.serve(arguments);
        } else if (arguments.length == 1 && arguments[0].equals("client")) {
            Client.serve();
        } else {
            System.err.println("usage: Main server VERSION [GROUP/VERSION ...] | Main client");
            Runtime.getRuntime().halt(2);
        }
        // Dubbo's orderly shutdown takes seconds, and nobody waits for an answer any more.
        Runtime.getRuntime().halt(0);
    }

    static void say(Object value) {
        RESULTS.println(JSON.toJSONString(value));
        RESULTS.flush();
    }
}
