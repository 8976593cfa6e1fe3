// The REST API's stand-in: an HTTP server on a free loopback port that gives the answers a test
// lays down, and keeps what it was asked.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace trunkline::cli {

struct FakeAnswer {
  int status = 200;
  std::string body;
  std::vector<std::string> headers;
  std::vector<std::string> trailers = {};  // if there are any, the body comes in chunks
};
struct FakeRequest {
  std::string method;
  std::string target;
  std::string head;  // request line and headers
  std::string body;
};

class FakeApi {
 public:
  FakeApi();
  ~FakeApi();
  FakeApi(const FakeApi&) = delete;
  FakeApi& operator=(const FakeApi&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  // Answers of "GET /path" (without the query) in order; the last one stays. Others get 404.
  void lay_down(const std::string& method_and_path, std::vector<FakeAnswer> answers);
  std::vector<FakeRequest> requests();

 private:
  void serve();
  bool answer_one(int client);
  FakeAnswer next(const FakeRequest& request);

  int listener_ = -1;
  int port_ = 0;
  std::mutex mutex_;
  std::map<std::string, std::deque<FakeAnswer>> answers_;
  std::vector<FakeRequest> requests_;
  std::thread thread_;
};

}  // namespace trunkline::cli
