#include "telemetry/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "telemetry/metrics.h"

namespace trunkline::telemetry {
namespace {

constexpr std::chrono::seconds kPatience{1};
constexpr size_t kLongestHead = 8192;

double resident_bytes() {
  long pages = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double open_files() {
  std::error_code error;
  double count = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    ++count;
  }
  return count;
}

// Names as every Prometheus client library has them.
class ProcessMetrics {
 public:
  ProcessMetrics() {
    start_.set(std::chrono::duration<double>(
                   std::chrono::system_clock::now().time_since_epoch()).count());
  }

 private:
  void update() {
    struct rusage usage {};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    const double cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    cpu_.add({}, cpu - cpu_seen_);
    cpu_seen_ = cpu;
    memory_.set(resident_bytes());
    files_.set(open_files());
  }

  CounterFamily cpu_{"process_cpu_seconds_total", "CPU time of the process."};
  GaugeFamily memory_{"process_resident_memory_bytes", "Memory of the process."};
  GaugeFamily files_{"process_open_fds", "Open file descriptors of the process."};
  GaugeFamily start_{"process_start_time_seconds", "When the process started, since 1970."};
  double cpu_seen_ = 0;
  ScrapeHook hook_{[this] { update(); }};
};

sockaddr_in address_of(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  sockaddr_in out{};
  out.sin_family = AF_INET;
  const std::string host = listen.substr(0, colon);
  const int port = colon == std::string::npos ? 0 : std::atoi(listen.c_str() + colon + 1);
  if (port <= 0 || port > 65535 || ::inet_pton(AF_INET, host.c_str(), &out.sin_addr) != 1) {
    throw std::runtime_error("not an address and a port");
  }
  out.sin_port = htons(static_cast<uint16_t>(port));
  return out;
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// The request's head, or "" if it does not come in time or is none.
std::string read_head(int fd) {
  std::string head;
  char buffer[2048];
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (head.find("\r\n\r\n") == std::string::npos) {
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0 || head.size() > kLongestHead || std::chrono::steady_clock::now() > until) return "";
    head.append(buffer, static_cast<size_t>(n));
  }
  return head;
}

void send_all(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

void answer(int fd) {
  const timeval patience{std::chrono::seconds(kPatience).count(), 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const std::string head = read_head(fd);
  if (head.empty()) return;
  const bool found = head.starts_with("GET /metrics ") || head.starts_with("GET /metrics?");
  const std::string body = found ? metrics_text() : "see /metrics\n";
  send_all(fd, std::string("HTTP/1.1 ") + (found ? "200 OK" : "404 Not Found") +
                   "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                   "Content-Length: " +
                   std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body);
}

}  // namespace

struct MetricsServer::Impl {
  ProcessMetrics process;
  int listener = -1;
  int stop = -1;
  std::thread thread;

  explicit Impl(const std::string& listen) {
    const sockaddr_in to = address_of(listen);
    listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int one = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 ||
        ::listen(listener, 16) != 0) {
      const int error = errno;
      ::close(listener);
      errno = error;
      fail("listen");
    }
    stop = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    thread = std::thread([this] { run(); });
  }
  ~Impl() {
    const uint64_t wake = 1;
    if (::write(stop, &wake, sizeof wake) < 0) spdlog::debug("stopped twice");
    thread.join();
    ::close(listener);
    ::close(stop);
  }
  void run() {
    while (true) {
      pollfd fds[2] = {{listener, POLLIN, 0}, {stop, POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents != 0) return;
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) {
        // Out of descriptors: without a pause this would spin.
        if (errno == EMFILE || errno == ENFILE) ::poll(&fds[1], 1, 100);
        continue;
      }
      answer(fd);
      ::close(fd);
    }
  }
};

MetricsServer::MetricsServer(const std::string& listen) {
  if (listen.empty()) return;
  try {
    impl_ = std::make_unique<Impl>(listen);
  } catch (const std::exception& error) {
    spdlog::warn("no metrics on {}: {}", listen, error.what());
  }
}
MetricsServer::~MetricsServer() = default;
bool MetricsServer::up() const { return impl_ != nullptr; }

}  // namespace trunkline::telemetry
