// pgjdbc behind HikariCP. README.md says what it does.
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

public class Drivers {
  static class Sight {
    int acknowledged = 0;
    final Map<String, Integer> errors = new TreeMap<>();
    final List<String> wrong = new ArrayList<>();

    String json() {
      StringBuilder out = new StringBuilder("{\"acknowledged\": " + acknowledged + ", \"errors\": {");
      String comma = "";
      for (Map.Entry<String, Integer> each : errors.entrySet()) {
        out.append(comma).append(quoted(each.getKey())).append(": ").append(each.getValue());
        comma = ", ";
      }
      out.append("}, \"wrong\": [");
      comma = "";
      for (String each : wrong) {
        out.append(comma).append(quoted(each));
        comma = ", ";
      }
      return out.append("]}").toString();
    }
  }

  static final Map<String, Sight> seen = new TreeMap<>();

  static String quoted(String text) {
    return '"' + text.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + '"';
  }

  static void clear() {
    seen.put("direct", new Sight());
    seen.put("pooled", new Sight());
  }

  static HikariDataSource pool(String way, String[] args) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl("jdbc:postgresql://" + args[1] + ":" + args["direct".equals(way) ? 2 : 3] +
        "/" + args[6]);
    config.setUsername(args[5]);
    config.setPassword(System.getenv("PGPASSWORD"));
    config.setMaximumPoolSize(2);
    if ("pooled".equals(way)) {
      config.addDataSourceProperty("options", "-c trunkline.endpoint=" + args[4]);
    }
    return new HikariDataSource(config);
  }

  static void turn(Connection conn, String driver, String way, int client, int n)
      throws SQLException {
    String question = "select 'client " + client + " ' || ?::int";
    try (PreparedStatement ask = conn.prepareStatement(question)) {
      ask.setInt(1, n);
      try (ResultSet rows = ask.executeQuery()) {
        rows.next();
        String wanted = "client " + client + " " + n;
        if (!wanted.equals(rows.getString(1))) {
          synchronized (seen) {
            seen.get(way).wrong.add(rows.getString(1) + " for " + wanted);
          }
        }
      }
    }
    conn.setAutoCommit(false);
    try (PreparedStatement insert =
             conn.prepareStatement("insert into driven values (?, ?, ?, ?)")) {
      insert.setString(1, driver);
      insert.setString(2, way);
      insert.setInt(3, client);
      insert.setInt(4, n);
      insert.executeUpdate();
    }
    conn.commit();
    conn.setAutoCommit(true);
  }

  static void run(HikariDataSource pool, String driver, String way, int client) {
    for (int n = 1;; ++n) {
      try (Connection conn = pool.getConnection()) {
        turn(conn, driver, way, client, n);
        synchronized (seen) {
          ++seen.get(way).acknowledged;
        }
      } catch (SQLException error) {
        synchronized (seen) {
          seen.get(way).errors.merge(error.getSQLState() + ": " + error.getMessage(), 1,
              Integer::sum);
        }
      }
      try {
        Thread.sleep(100);
      } catch (InterruptedException error) {
        return;
      }
    }
  }

  public static void main(String[] args) throws Exception {
    clear();
    for (String way : new String[] {"direct", "pooled"}) {
      HikariDataSource pool = pool(way, args);
      for (int client = 1; client <= 2; ++client) {
        int mine = client;
        Thread thread = new Thread(() -> run(pool, args[0], way, mine));
        thread.setDaemon(true);
        thread.start();
      }
    }
    System.out.println("ready");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    while (lines.readLine() != null) {
      synchronized (seen) {
        System.out.println("{\"direct\": " + seen.get("direct").json() + ", \"pooled\": " +
            seen.get("pooled").json() + "}");
        clear();
      }
    }
    System.exit(0);
  }
}
