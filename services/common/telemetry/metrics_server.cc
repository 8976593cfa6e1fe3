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
#include <list>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "telemetry/metrics.h"

namespace trunkline::telemetry {
namespace {

constexpr std::chrono::seconds kPatience{1};
constexpr size_t kLongestHead = 8192;
constexpr size_t kMostVisits = 64;
constexpr int kLookMs = 100;

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

using Clock = std::chrono::steady_clock;

// One request, as far as it has come.
struct Visit {
  int fd = -1;
  Clock::time_point until;
  std::string head;
  std::string answer;  // empty: the head is not complete yet
  size_t sent = 0;
};

std::string answer_to(const std::string& head) {
  const bool found = head.starts_with("GET /metrics ") || head.starts_with("GET /metrics?");
  const std::string body = found ? metrics_text() : "see /metrics\n";
  return std::string("HTTP/1.1 ") + (found ? "200 OK" : "404 Not Found") +
         "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
}

// Goes on with it as far as the socket lets; false when it is over.
bool proceed(Visit& visit) {
  while (visit.answer.empty()) {
    char buffer[2048];
    const ssize_t n = ::recv(visit.fd, buffer, sizeof buffer, 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0 || visit.head.size() > kLongestHead) return false;
    visit.head.append(buffer, static_cast<size_t>(n));
    if (visit.head.find("\r\n\r\n") != std::string::npos) visit.answer = answer_to(visit.head);
  }
  while (visit.sent < visit.answer.size()) {
    const ssize_t n = ::send(visit.fd, visit.answer.data() + visit.sent,
                             visit.answer.size() - visit.sent, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    visit.sent += static_cast<size_t>(n);
  }
  return false;
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
        ::listen(listener, 128) != 0) {
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
  // Nobody waits for a client that says nothing: each is asked only when its socket is ready, and
  // the one that has been there longest goes when there are too many.
  void run() {
    std::list<Visit> visits;  // oldest first
    while (true) {
      std::vector<pollfd> fds = {{listener, POLLIN, 0}, {stop, POLLIN, 0}};
      for (const Visit& visit : visits) {
        fds.push_back({visit.fd, static_cast<short>(visit.answer.empty() ? POLLIN : POLLOUT), 0});
      }
      const int patience = visits.empty() ? -1 : kLookMs;
      if (::poll(fds.data(), fds.size(), patience) < 0 && errno != EINTR) break;
      if (fds[1].revents != 0) break;
      const auto now = Clock::now();
      size_t at = 2;
      for (auto visit = visits.begin(); visit != visits.end(); ++at) {
        const bool ready = fds[at].revents != 0;
        const bool goes_on = ready ? proceed(*visit) : now < visit->until;
        if (!goes_on || now >= visit->until) {
          ::close(visit->fd);
          visit = visits.erase(visit);
        } else {
          ++visit;
        }
      }
      if (fds[0].revents != 0) accept_all(visits, now);
    }
    for (const Visit& visit : visits) ::close(visit.fd);
  }
  void accept_all(std::list<Visit>& visits, Clock::time_point now) {
    for (size_t i = 0; i < kMostVisits; ++i) {
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) {
        // Out of descriptors: without a pause this would spin.
        pollfd stopping{stop, POLLIN, 0};
        if (errno == EMFILE || errno == ENFILE) ::poll(&stopping, 1, 100);
        return;
      }
      Visit visit{fd, now + kPatience, {}, {}, 0};
      if (!proceed(visit)) {  // its request came with it
        ::close(fd);
        continue;
      }
      visits.push_back(std::move(visit));
      if (visits.size() <= kMostVisits) continue;
      ::close(visits.front().fd);
      visits.pop_front();
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
