import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;

/** mssql-jdbc: `Jdbc PORT MODE TRUSTSTORE SA_PASSWORD STATEMENTS`. */
public class Jdbc {
    static Connection connect(String[] args, String user, String password) throws SQLException {
        String encrypt = switch (args[1]) {
            case "strict" -> "strict";
            case "tls" -> "true";
            default -> "false";
        };
        Properties properties = new Properties();
        properties.put("user", user);
        properties.put("password", password);
        properties.put("encrypt", encrypt);
        properties.put("trustStore", args[2]);
        properties.put("trustStorePassword", "changeit");
        properties.put("loginTimeout", "10");
        properties.put("connectRetryCount", "0");
        // Of the login alone it checks no certificate.
        if (encrypt.equals("false")) properties.put("trustServerCertificate", "true");
        return DriverManager.getConnection("jdbc:sqlserver://localhost:" + args[0] + ";databaseName=master", properties);
    }

    static void expect(boolean holds, String what) {
        if (!holds) throw new IllegalStateException(what);
    }

    public static void main(String[] args) throws Exception {
        try (Connection connection = connect(args, "sa", args[3]); var statement = connection.createStatement()) {
            for (String sql : Files.readAllLines(Path.of(args[4]))) {
                boolean rows = statement.execute(sql);
                try (ResultSet all = rows ? statement.getResultSet() : null) {
                    while (rows && all.next()) System.out.println(all.getString(1));
                }
            }
            try (var prepared = connection.prepareStatement("SELECT ?")) {
                prepared.setNString(1, "it's \u20ac");
                ResultSet all = prepared.executeQuery();
                expect(all.next() && all.getString(1).equals("it's \u20ac"), "a parameter");
            }
        }
        try (Connection own = connect(args, "it's", "Second'2-Pass"); ResultSet all = own.createStatement().executeQuery("SELECT SUSER_SNAME()")) {
            expect(all.next() && all.getString(1).equals("it's"), "a name");
        }
        try {
            connect(args, "it's", "First-Pass-1");
            throw new IllegalStateException("the old password is taken");
        } catch (SQLException error) {
            expect(error.getErrorCode() == 18456, error.toString());
        }
        System.out.println("ok");
    }
}
