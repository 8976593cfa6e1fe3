// An HTTP/1.1 load generator for the benches: one thread, many keep-alive connections, either as
// fast as answers come or at a fixed rate. At a rate, latency counts from when a request was due,
// not from when it could be sent, so a stalled server is not flattered.
//
// usage: http_load --port N [--method M] --path P... [--body B] [--token-file F]
//                  [--connections C] [--rate R] [--seconds S]
// `{n}` in a path or body becomes a running number; several --path are taken in turn.
// Prints one JSON object: requests, rps, p50_ms, p99_ms, max_ms, status counts.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int port = 0;
  std::string method = "GET";
  std::vector<std::string> paths;
  std::string body;
  std::string token_file;
  int connections = 16;
  double rate = 0;
  double seconds = 10;
};

struct Connection {
  int fd = -1;
  bool busy = false;
  Clock::time_point due;
  std::string in;
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    std::ifstream file(options.token_file);
    std::getline(file, token_);
    connections_.resize(static_cast<size_t>(options.connections));
    for (size_t i = 0; i < connections_.size(); ++i) open(i);
  }

  void run() {
    start_ = Clock::now();
    const auto end = start_ + std::chrono::duration_cast<Clock::duration>(
                                  std::chrono::duration<double>(options_.seconds));
    while (Clock::now() < end || (in_flight_ > 0 && Clock::now() < end + std::chrono::seconds(5))) {
      if (Clock::now() < end) send_due();
      receive();
    }
    elapsed_ = std::chrono::duration<double>(end - start_).count();
  }

  void print() {
    std::sort(latencies_ms_.begin(), latencies_ms_.end());
    const auto at = [&](double share) {
      if (latencies_ms_.empty()) return 0.0;
      return latencies_ms_[static_cast<size_t>(share *
                                               static_cast<double>(latencies_ms_.size() - 1))];
    };
    nlohmann::json out = {{"requests", latencies_ms_.size()},
                          {"rps", static_cast<double>(latencies_ms_.size()) / elapsed_},
                          {"p50_ms", at(0.5)},
                          {"p99_ms", at(0.99)},
                          {"max_ms", at(1.0)},
                          {"broken", broken_},
                          {"unanswered", in_flight_}};
    for (const auto& [status, count] : statuses_) out["status"][std::to_string(status)] = count;
    std::cout << out.dump() << "\n";
  }

 private:
  void open(size_t index) {
    Connection& connection = connections_[index];
    connection = Connection{};
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      std::cerr << "cannot connect to port " << options_.port << "\n";
      std::exit(1);
    }
    const int on = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(connection.fd, F_SETFL, O_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = index;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
    idle_.push_back(index);
  }

  static std::string numbered(std::string text, uint64_t n) {
    const size_t at = text.find("{n}");
    if (at != std::string::npos) text.replace(at, 3, std::to_string(n));
    return text;
  }

  void send_due() {
    while (!idle_.empty()) {
      Clock::time_point due = Clock::now();
      if (options_.rate > 0) {
        due = start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                           static_cast<double>(sent_) / options_.rate));
        if (due > Clock::now()) return;
      }
      Connection& connection = connections_[idle_.front()];
      idle_.pop_front();
      const std::string body = numbered(options_.body, sent_);
      std::string request = options_.method + " " +
                            numbered(options_.paths[sent_ % options_.paths.size()], sent_) +
                            " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n";
      if (!token_.empty()) request += "Authorization: Bearer " + token_ + "\r\n";
      if (!body.empty()) {
        request += "Content-Type: application/json\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\n";
      }
      request += "\r\n" + body;
      if (write(connection.fd, request.data(), request.size()) !=
          static_cast<ssize_t>(request.size())) {
        ++broken_;
      }
      connection.busy = true;
      connection.due = due;
      ++sent_;
      ++in_flight_;
    }
  }

  void receive() {
    epoll_event events[64];
    const int count = epoll_wait(epoll_, events, 64, options_.rate > 0 ? 0 : 1);
    for (int i = 0; i < count; ++i) read_from(static_cast<size_t>(events[i].data.u64));
  }

  void read_from(size_t index) {
    Connection& connection = connections_[index];
    char buffer[65536];
    const ssize_t size = read(connection.fd, buffer, sizeof buffer);
    if (size <= 0) {
      if (connection.busy) {
        ++broken_;
        --in_flight_;
      } else {
        std::erase(idle_, index);
      }
      close(connection.fd);
      open(index);
      return;
    }
    connection.in.append(buffer, static_cast<size_t>(size));
    const size_t head = connection.in.find("\r\n\r\n");
    if (head == std::string::npos) return;
    size_t length = 0;
    const size_t field = connection.in.find("Content-Length: ");
    if (field < head) length = std::stoul(connection.in.substr(field + 16, 12));
    if (connection.in.size() < head + 4 + length) return;
    ++statuses_[std::stoi(connection.in.substr(9, 3))];
    latencies_ms_.push_back(
        std::chrono::duration<double, std::milli>(Clock::now() - connection.due).count());
    connection.in.clear();
    connection.busy = false;
    --in_flight_;
    idle_.push_back(index);
  }

  const Options& options_;
  const int epoll_;
  std::string token_;
  std::vector<Connection> connections_;
  std::deque<size_t> idle_;
  Clock::time_point start_;
  double elapsed_ = 0;
  uint64_t sent_ = 0;
  uint64_t in_flight_ = 0;
  uint64_t broken_ = 0;
  std::vector<double> latencies_ms_;
  std::map<int, uint64_t> statuses_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("HTTP load for the benches");
  app.add_option("--port", options.port)->required();
  app.add_option("--method", options.method);
  app.add_option("--path", options.paths)->required();
  app.add_option("--body", options.body);
  app.add_option("--token-file", options.token_file);
  app.add_option("--connections", options.connections);
  app.add_option("--rate", options.rate);
  app.add_option("--seconds", options.seconds);
  CLI11_PARSE(app, argc, argv);
  Load load(options);
  load.run();
  load.print();
}
