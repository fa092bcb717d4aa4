package peer;

import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.Arrays;
import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.sample.Greeter;
import org.apache.dubbo.sample.Plain;

/** The server: says {"address": ...} once it answers. */
final class Server {
    private Server() {}

    static void serve(String[] arguments) throws Exception {
        int port = freePort();
        ProtocolConfig protocol = new ProtocolConfig("tri", port);
        protocol.setHost("127.0.0.1");
        // Of a port: Dubbo looks them up with whichever service was exported first.
        protocol.setSerialization("gson");
        protocol.setPreferSerialization("gson,hessian2");
        DubboBootstrap bootstrap =
                DubboBootstrap.getInstance().application(application()).protocol(protocol).registry(nowhere());
        bootstrap.service(service(arguments[1], "", ""));
        for (String variant : Arrays.copyOfRange(arguments, 2, arguments.length)) {
            String[] parts = variant.split("/", 2);
            bootstrap.service(service(arguments[1] + " " + variant, parts[0], parts[1]));
        }
        ServiceConfig<Plain> plain = new ServiceConfig<>();
        plain.setInterface(Plain.class);
        plain.setRef(new PlainImpl());
        bootstrap.service(plain);
        bootstrap.start();
        Main.say(Map.of("address", "127.0.0.1:" + port));
        System.in.transferTo(OutputStream.nullOutputStream());
    }

    static ApplicationConfig application() {
        ApplicationConfig application = new ApplicationConfig("dubbo-java-peer");
        application.setQosEnable(false);
        return application;
    }

    static RegistryConfig nowhere() {
        return new RegistryConfig("N/A");
    }

    private static ServiceConfig<Greeter> service(String id, String group, String version) {
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setRef(new GreeterImpl(id));
        if (!group.isEmpty()) {
            service.setGroup(group);
        }
        if (!version.isEmpty()) {
            service.setVersion(version);
        }
        return service;
    }

    private static int freePort() throws Exception {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }
}
