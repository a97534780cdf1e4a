// A receiver in Java 17 or newer, with nothing to install; `com.standardwebhooks:standardwebhooks` does the same in a line.
//
// WORKER_WEBHOOK_SECRET=whsec_… PORT=8001 java Receiver.java
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final int LARGEST = 4 * 1024 * 1024;
    static final long TOLERANCE_S = 300;
    static final byte[] KEY =
            Base64.getDecoder().decode(System.getenv("WORKER_WEBHOOK_SECRET").substring("whsec_".length()));
    // In real life a table with a unique column, written with the result in one transaction.
    static final Set<String> SEEN = ConcurrentHashMap.newKeySet();

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8001"));
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/", Receiver::receive);
        server.start();
        System.out.println("listening on " + server.getAddress().getPort());
    }

    static void receive(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readNBytes(LARGEST);
            String id = exchange.getRequestHeaders().getFirst("webhook-id");
            String timestamp = exchange.getRequestHeaders().getFirst("webhook-timestamp");
            String signatures = exchange.getRequestHeaders().getFirst("webhook-signature");
            boolean genuine = isGenuine(id, timestamp, signatures, body);
            if (genuine && SEEN.add(id)) {
                System.out.println(new String(body, StandardCharsets.UTF_8)); // read it with your JSON library
            }
            exchange.sendResponseHeaders(genuine ? 204 : 401, -1); // answer quickly; do slow work later
        }
    }

    /** Says whether the body is ours, unchanged, and younger than five minutes. */
    static boolean isGenuine(String id, String timestamp, String signatures, byte[] body) {
        if (id == null || timestamp == null || signatures == null) {
            return false;
        }
        try {
            if (Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > TOLERANCE_S) {
                return false;
            }
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(KEY, "HmacSHA256"));
            mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
            byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes();
            boolean found = false;
            for (String signature : signatures.split(" ")) { // several while a secret is rotated
                found |= MessageDigest.isEqual(expected, signature.getBytes(StandardCharsets.UTF_8));
            }
            return found;
        } catch (GeneralSecurityException | NumberFormatException error) {
            return false;
        }
    }
}
