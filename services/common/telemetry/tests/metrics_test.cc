// Families as Prometheus reads them, bounded labels, and the page.
#include "telemetry/metrics.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <vector>

#include "telemetry/metrics_server.h"

namespace trunkline::telemetry {
namespace {

using ::testing::Test;

bool has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, FamiliesAreShownInTheTextFormat) {
  CounterFamily requests("t1_requests_total", "Requests.", {"route", "status"});
  requests.add({"/v1/x", "200"});
  requests.add({"/v1/x", "200"}, 2);
  requests.add({"a\"b\\c\n", "500"});
  GaugeFamily gauge("t1_lag_seconds", "Lag.");
  gauge.set(1.5);
  HistogramFamily times("t1_duration_seconds", "Time.", {}, {0.1, 1});
  times.observe(0.05);
  times.observe(0.5);
  const std::string text = metrics_text();
  EXPECT_TRUE(has(text, "# TYPE t1_requests_total counter")) << text;
  EXPECT_TRUE(has(text, "t1_requests_total{route=\"/v1/x\",status=\"200\"} 3")) << text;
  EXPECT_TRUE(has(text, "t1_requests_total{route=\"a\\\"b\\\\c\\n\",status=\"500\"} 1")) << text;
  EXPECT_TRUE(has(text, "t1_lag_seconds 1.5")) << text;
  EXPECT_TRUE(has(text, "t1_duration_seconds_bucket{le=\"0.1\"} 1")) << text;
  EXPECT_TRUE(has(text, "t1_duration_seconds_bucket{le=\"+Inf\"} 2")) << text;
  EXPECT_TRUE(has(text, "t1_duration_seconds_count 2")) << text;
}

TEST(Metrics, WhatHasNoLabelsIsThereFromTheStart) {
  const CounterFamily counter("t2_things_total", "Things.");
  const HistogramFamily times("t2_duration_seconds", "Time.");
  EXPECT_TRUE(has(metrics_text(), "t2_things_total 0"));
  EXPECT_TRUE(has(metrics_text(), "t2_duration_seconds_count 0"));
}

TEST(Metrics, LabelsAreBounded) {
  CounterFamily counter("t3_things_total", "Things.", {"name"}, 3);
  for (int i = 0; i < 1000; ++i) counter.add({std::to_string(i)});
  const std::string text = metrics_text();
  EXPECT_TRUE(has(text, "t3_things_total{name=\"2\"} 1")) << text;
  EXPECT_TRUE(has(text, "t3_things_total{name=\"other\"} 997")) << text;
  EXPECT_EQ(text.find("name=\"3\""), std::string::npos) << text;
}

TEST(Metrics, HooksSetGaugesAtEveryScrapeUntilTheyAreGone) {
  GaugeFamily gauge("t4_hosts", "Hosts.", {"state"});
  int calls = 0;
  {
    const ScrapeHook hook([&] {
      gauge.clear();
      gauge.set({++calls == 1 ? "up" : "down"}, 1);
    });
    EXPECT_TRUE(has(metrics_text(), "t4_hosts{state=\"up\"} 1"));
    const std::string text = metrics_text();
    EXPECT_TRUE(has(text, "t4_hosts{state=\"down\"} 1"));
    EXPECT_EQ(text.find("state=\"up\""), std::string::npos);
  }
  metrics_text();
  EXPECT_EQ(calls, 2);
}

std::string get(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  std::string out;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      char buffer[4096];
      ssize_t n;
      while ((n = ::recv(fd, buffer, sizeof buffer, 0)) > 0) out.append(buffer, size_t(n));
    }
  }
  ::close(fd);
  return out;
}

// A listener on a port of its own choice.
int listener(uint16_t* port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  ::inet_pton(AF_INET, "127.0.0.1", &any.sin_addr);
  socklen_t size = sizeof any;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&any), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&any), &size), 0);
  EXPECT_EQ(::listen(fd, 1), 0);
  *port = ntohs(any.sin_port);
  return fd;
}

TEST(MetricsServer, ShowsThePageAndOneThatFindsNoPlaceHarmsNobody) {
  EXPECT_FALSE(MetricsServer("").up());
  EXPECT_FALSE(MetricsServer("nowhere").up());
  uint16_t port = 0;
  std::unique_ptr<MetricsServer> server;
  // Somebody else may take a port that was just given back.
  for (int i = 0; i < 20 && (!server || !server->up()); ++i) {
    const int fd = listener(&port);
    const std::string listen = "127.0.0.1:" + std::to_string(port);
    EXPECT_FALSE(MetricsServer(listen).up()) << "the place is taken";
    ::close(fd);
    server = std::make_unique<MetricsServer>(listen);
  }
  ASSERT_TRUE(server->up());
  const std::string page = get(port);
  EXPECT_NE(page.find("200 OK"), std::string::npos) << page;
  EXPECT_NE(page.find("process_resident_memory_bytes "), std::string::npos) << page;
}

int connected(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return fd;
}

TEST(MetricsServer, SilentSocketsHoldUpNobody) {
  uint16_t port = 0;
  ::close(listener(&port));
  const MetricsServer server("127.0.0.1:" + std::to_string(port));
  ASSERT_TRUE(server.up());
  std::vector<int> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(connected(port));
    if (i % 2 == 0) {
      EXPECT_EQ(::send(silent.back(), "GET /m", 6, MSG_NOSIGNAL), 6);
    }
  }
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) EXPECT_NE(get(port).find("200 OK"), std::string::npos);
  // One after the other they would each have had a second.
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
  for (const int fd : silent) ::close(fd);
}

}  // namespace
}  // namespace trunkline::telemetry
