// A log of synthetic instances, written by COPY into an empty `log.event`.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <string>

namespace trunkline::bench {

// Every column of log.event, in its order.
extern const char kEventColumns[];

// Ends the program with the server's message if something fails.
class Connection {
 public:
  explicit Connection(const std::string& dsn);
  void execute(const std::string& sql, ExecStatusType wanted);
  void put(const std::string& rows);  // after COPY FROM STDIN
  void end();
  int64_t drain();  // after COPY TO STDOUT: the number of rows

 private:
  [[noreturn]] void fail();
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

// Instances live side by side in waves, so that neighbours in the log are of different streams.
// The life of one has kEventsOfALife events.
inline constexpr int64_t kEventsOfALife = 20;
void fill_log(const std::string& dsn, int64_t events);

}  // namespace trunkline::bench
