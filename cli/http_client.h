// One HTTP request after the other over libcurl, connections kept. http and https only, no
// redirects, loopback never through a proxy. Not thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace trunkline::cli {

struct HttpRequest {
  std::string method;
  std::string url;
  std::string body;                  // sent as application/json if not empty
  std::vector<std::string> headers;  // "Name: value"
  std::chrono::milliseconds timeout{10000};  // of the whole; 0: none
  // Takes the body of a 200 as it comes, and answers whether it wants more.
  std::function<bool(std::string_view)> sink;
};
struct HttpAnswer {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
};

class HttpClient {
 public:
  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Throws Failure(unavailable) if there is no whole answer of at most 64 MiB.
  HttpAnswer send(const HttpRequest& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Percent-encodes everything but unreserved characters.
std::string url_encoded(const std::string& text);

}  // namespace trunkline::cli
