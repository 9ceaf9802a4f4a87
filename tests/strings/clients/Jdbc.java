import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.util.Base64;

/** Logs in by JDBC URLs: each line of standard input is a client and a string in base64; each answer one line. The URL chooses the driver. */
public class Jdbc {
    public static void main(String[] arguments) throws Exception {
        DriverManager.setLoginTimeout(20);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String url = new String(Base64.getDecoder().decode(line.split(" ")[1]), StandardCharsets.UTF_8);
            try (Connection session = DriverManager.getConnection(url)) {
                session.createStatement().executeQuery("SELECT 1").close();
                System.out.println("ok");
            } catch (Exception refused) {
                System.out.println("no " + String.valueOf(refused.getMessage()).replaceAll("\\s+", " "));
            }
        }
    }
}
