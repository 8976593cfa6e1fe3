#include "telemetry/telemetry.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <vector>

namespace trunkline::telemetry {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c";
const std::string kSpan = "b7ad6b7169203331";
const std::string kParent = "00-" + kTrace + "-" + kSpan + "-01";

// Listens on a free loopback port; keeps what clients send; answers 200, or never.
class Collector {
 public:
  explicit Collector(bool answers) : answers_(answers) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    socklen_t length = sizeof address;
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Collector() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    for (const int held : held_) close(held);
  }
  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (;;) {
      const int client = accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      if (!answers_) {
        held_.push_back(client);
        continue;
      }
      while (answer_one(client)) {
      }
      close(client);
    }
  }
  bool answer_one(int client) {
    timeval patience{5, 0};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    std::string text;
    size_t wanted = std::string::npos;
    while (text.size() < wanted) {
      char buffer[4096];
      const ssize_t got = read(client, buffer, sizeof buffer);
      if (got <= 0) return false;
      text.append(buffer, static_cast<size_t>(got));
      const size_t head = text.find("\r\n\r\n");
      if (head == std::string::npos || wanted != std::string::npos) continue;
      const size_t field = text.find("Content-Length: ");
      if (field == std::string::npos) return false;
      wanted = head + 4 + std::stoul(text.substr(field + 16));
    }
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(text);
    }
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    return write(client, answer.data(), answer.size()) == static_cast<ssize_t>(answer.size());
  }

  bool answers_;
  int listener_ = -1;
  int port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<int> held_;
  std::thread thread_;
};

class Environment {
 public:
  explicit Environment(std::vector<std::pair<std::string, std::string>> values)
      : values_(std::move(values)) {
    for (const auto& [name, value] : values_) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : values_) unsetenv(name.c_str());
  }

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

TEST(IsTraceparent, TruthTable) {
  struct Row {
    const char* name;
    std::string text;
    bool valid;
  };
  const std::string upper = "00-0AF7651916CD43DD8448EB211C80319C-" + kSpan + "-01";
  const Row rows[] = {
      {"as in the standard", kParent, true},
      {"not sampled", "00-" + kTrace + "-" + kSpan + "-00", true},
      {"unknown flags", "00-" + kTrace + "-" + kSpan + "-ff", true},
      {"empty", "", false},
      {"later version", "01" + kParent.substr(2), false},
      {"forbidden version", "ff" + kParent.substr(2), false},
      {"zero trace id", "00-" + std::string(32, '0') + "-" + kSpan + "-01", false},
      {"zero span id", "00-" + kTrace + "-" + std::string(16, '0') + "-01", false},
      {"upper case", upper, false},
      {"no hex", "00-" + kTrace + "-" + std::string(16, 'g') + "-01", false},
      {"flags no hex", kParent.substr(0, 53) + "0x", false},
      {"too short", kParent.substr(0, 54), false},
      {"something behind", kParent + "-00", false},
      {"line behind", kParent + "\n", false},
      {"other separator", "00_" + kTrace + "-" + kSpan + "-01", false},
  };
  for (const Row& row : rows) EXPECT_EQ(is_traceparent(row.text), row.valid) << row.name;
}

TEST(Span, IsAChildOfTheGivenParent) {
  Span span("work", SpanKind::consumer, kParent);
  EXPECT_EQ(span.trace_id(), kTrace);
  EXPECT_TRUE(is_traceparent(span.traceparent()));
  EXPECT_THAT(span.traceparent(), Not(HasSubstr(kSpan)));
}

TEST(Span, IsAChildOfTheThreadsActiveSpan) {
  Span outer("outer", SpanKind::server);
  {
    Span inner("inner", SpanKind::internal);
    EXPECT_EQ(inner.trace_id(), outer.trace_id());
    EXPECT_NE(inner.traceparent(), outer.traceparent());
  }
  std::string elsewhere;
  std::thread([&] { elsewhere = Span("other", SpanKind::internal).trace_id(); }).join();
  EXPECT_NE(elsewhere, outer.trace_id());
}

TEST(Span, IsARootWithoutAValidParent) {
  Span span("work", SpanKind::server, "00-not-a-parent");
  EXPECT_TRUE(is_traceparent(span.traceparent()));
  EXPECT_NE(span.trace_id(), std::string(32, '0'));
}

TEST(Log, LinesCarryTheActiveSpansTrace) {
  testing::internal::CaptureStderr();
  start("gateway", "gateway-1");
  std::string trace_id;
  {
    Span span("request", SpanKind::server);
    trace_id = span.trace_id();
    spdlog::info("in {}", "span");
  }
  spdlog::warn("outside\nof \xff it");
  stop();
  std::istringstream lines(testing::internal::GetCapturedStderr());
  std::string first;
  std::string second;
  std::getline(lines, first);
  std::getline(lines, second);
  const auto inside = nlohmann::json::parse(first);
  EXPECT_EQ(inside.at("trace_id"), trace_id);
  EXPECT_EQ(inside.at("span_id").get<std::string>().size(), 16u);
  EXPECT_EQ(inside.at("service"), "gateway");
  EXPECT_EQ(inside.at("instance"), "gateway-1");
  EXPECT_EQ(inside.at("level"), "info");
  EXPECT_EQ(inside.at("msg"), "in span");
  EXPECT_EQ(inside.at("ts").get<std::string>().size(), 27u);
  const auto outside = nlohmann::json::parse(second);
  EXPECT_FALSE(outside.contains("trace_id"));
  EXPECT_EQ(outside.at("level"), "warning");
  EXPECT_EQ(outside.at("msg"), "outside\nof \xef\xbf\xbd it");
}

TEST(Export, SpansReachTheCollector) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint() + "/"},
                                 {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}});
  start("provisioner", "p-1");
  std::string trace_id;
  {
    Span span("decide \xff", SpanKind::consumer, kParent);
    trace_id = span.trace_id();
    span.set("stream", "instance-1");
    span.set("hostile", "\xc0\xaf\"\n");
    span.set("version", int64_t{7});
    span.event("appended");
    span.fail("refused", "not so");
  }
  stop();
  const auto requests = collector.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_THAT(requests[0], testing::StartsWith("POST /v1/traces HTTP/1.1\r\n"));
  const auto json = nlohmann::json::parse(requests[0].substr(requests[0].find("\r\n\r\n") + 4));
  const auto& resource = json["resourceSpans"][0];
  EXPECT_THAT(resource["resource"].dump(), HasSubstr("\"provisioner\""));
  EXPECT_THAT(resource["resource"].dump(), HasSubstr("\"p-1\""));
  const auto& span = resource["scopeSpans"][0]["spans"][0];
  EXPECT_EQ(span["name"], "decide \xef\xbf\xbd");
  EXPECT_EQ(span["traceId"], kTrace);
  EXPECT_EQ(span["parentSpanId"], kSpan);
  EXPECT_EQ(span["status"]["message"], "not so");
  EXPECT_THAT(span["attributes"].dump(), HasSubstr("instance-1"));
  EXPECT_THAT(span["events"].dump(), HasSubstr("appended"));
}

nlohmann::json spans_of(Collector& collector) {
  nlohmann::json spans = nlohmann::json::array();
  for (const std::string& request : collector.requests()) {
    const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
    for (const auto& resource : body["resourceSpans"]) {
      for (const auto& scope : resource["scopeSpans"]) {
        for (const auto& span : scope["spans"]) spans.push_back(span);
      }
    }
  }
  return spans;
}

std::vector<std::string> names_of(const nlohmann::json& spans) {
  std::vector<std::string> names;
  for (const auto& span : spans) names.push_back(span["name"]);
  return names;
}

TEST(Export, SaysWhoSent) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()},
                                 {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}});
  start("lookup", "l-1");
  { Span span("work", SpanKind::internal); }
  stop();
  ASSERT_EQ(collector.requests().size(), 1u);
  const std::string text = collector.requests()[0];
  for (const char* key : {"service.name", "service.version", "service.instance.id", "host.name",
                          "service.namespace"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\"") + key + "\"")) << key;
  }
}

TEST(Export, AnExceptionMarksItsSpan) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()},
                                 {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}});
  start("agent");
  try {
    Span span("step", SpanKind::internal);
    throw std::runtime_error("no");
  } catch (const std::exception&) {
    Span after("after", SpanKind::internal);  // not its fault
  }
  stop();
  const auto spans = spans_of(collector);
  ASSERT_EQ(names_of(spans), (std::vector<std::string>{"step", "after"}));
  EXPECT_EQ(spans[0]["status"]["code"], 2);
  EXPECT_THAT(spans[0]["attributes"].dump(), HasSubstr("error.type"));
  EXPECT_EQ(spans[1].value("status", nlohmann::json::object()).value("code", 0), 0);
}

TEST(Export, OfReadsOnlyFailuresWhereNoneIsSampled) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()},
                                 {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"},
                                 {"OTEL_TRACES_SAMPLER_ARG", "0"}});
  start("gateway");
  const SpanOptions read{SpanKind::server, {}, {}, false, Weight::read};
  {
    Span well("read well", read);
    EXPECT_THAT(well.traceparent(), testing::EndsWith("-00"));
    Span child("child of it", SpanKind::client);
    EXPECT_THAT(child.traceparent(), testing::EndsWith("-00"));
  }
  Span::unattached("read that failed", read)->fail("503");
  { Span write("write", SpanKind::server); }
  stop();
  EXPECT_EQ(names_of(spans_of(collector)),
            (std::vector<std::string>{"read that failed", "write"}));
}

TEST(Export, NothingWhereAllIsOff) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()},
                                 {"OTEL_TRACES_SAMPLER", "always_off"}});
  start("gateway");
  {
    Span write("write", SpanKind::server);
    EXPECT_TRUE(is_traceparent(write.traceparent()));
    write.fail("500");
  }
  stop();
  EXPECT_TRUE(collector.requests().empty());
}

TEST(Following, IsLinkedToWhatIsLongAgo) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()},
                                 {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}});
  start("provisioner");
  { Span soon("soon", following(SpanKind::internal, kParent, 59s)); }
  { Span late("late", following(SpanKind::internal, kParent, kTraceAge)); }
  stop();
  const auto spans = spans_of(collector);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["traceId"], kTrace);
  EXPECT_FALSE(spans[0].contains("links"));
  EXPECT_NE(spans[1]["traceId"], kTrace);
  EXPECT_EQ(spans[1]["links"][0]["traceId"], kTrace);
  EXPECT_EQ(spans[1]["links"][0]["spanId"], kSpan);
}

TEST(Tell, TheRootOfWhatNamedItBefore) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()},
                                 {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}});
  const std::string parent = root_of("failover/1/2");
  EXPECT_TRUE(is_traceparent(parent));
  EXPECT_NE(parent, root_of("failover/1/3"));
  start("replication");
  { Span child("child", SpanKind::internal, parent); }
  const auto begun = std::chrono::system_clock::now() - 3s;
  tell({"failover", "failover/1/2", begun, {kParent, parent}, {{"rule", "silent"}}, ""});
  stop();
  const auto spans = spans_of(collector);
  ASSERT_EQ(names_of(spans), (std::vector<std::string>{"child", "failover"}));
  EXPECT_EQ(spans[0]["traceId"], spans[1]["traceId"]);
  EXPECT_EQ(spans[0]["parentSpanId"], spans[1]["spanId"]);
  EXPECT_EQ(spans[1].value("parentSpanId", std::string()), "");
  ASSERT_EQ(spans[1]["links"].size(), 1u);  // not to itself
  EXPECT_EQ(spans[1]["links"][0]["traceId"], kTrace);
  const auto lasted = std::stoll(spans[1]["endTimeUnixNano"].get<std::string>()) -
                      std::stoll(spans[1]["startTimeUnixNano"].get<std::string>());
  EXPECT_GE(lasted, 3'000'000'000);
}

TEST(Export, IsBinaryUnlessAskedOtherwise) {
  Collector collector(true);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()}});
  start("lookup");
  { Span span("project", SpanKind::internal); }
  stop();
  const auto requests = collector.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_THAT(requests[0], HasSubstr("application/x-protobuf"));
  EXPECT_THAT(requests[0], HasSubstr("project"));
}

TEST(Export, ACollectorThatNeverAnswersHoldsNobodyUp) {
  testing::internal::CaptureStderr();
  Collector collector(false);
  const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()}});
  start("agent");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10000; ++i) Span span("span", SpanKind::internal);
  const auto made = std::chrono::steady_clock::now();
  stop();
  const auto stopped = std::chrono::steady_clock::now();
  testing::internal::GetCapturedStderr();
  EXPECT_LT(made - begin, 2s);  // more spans than the queue holds
  EXPECT_LT(stopped - made, 2500ms);
}

}  // namespace
}  // namespace trunkline::telemetry
