// One HTTP POST of a record under way in a curl multi handle. Not thread-safe.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <string>
#include <vector>

#include "metering/domain/reachable.h"
#include "metering/domain/webhook_delivery.h"

namespace trunkline::metering {

struct WebhookTransport {
  std::string ca_file;  // empty: the system's
  std::vector<IpRange> allowed;  // beside public addresses
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{15'000};
};

class WebhookRequest {
 public:
  // Connects to addresses that may be reached and no other, whatever the name leads to meanwhile.
  // No redirects, no proxy, nothing but http and https, certificates verified; of the
  // answer no more than a little is taken, and none of its body is kept.
  WebhookRequest(CURLM* multi, const WebhookTransport& transport, const std::string& url,
                 const std::vector<std::string>& headers, std::string body);
  ~WebhookRequest();
  WebhookRequest(const WebhookRequest&) = delete;
  WebhookRequest& operator=(const WebhookRequest&) = delete;

  CURL* handle() const { return easy_; }
  // Once curl says that it is done.
  DeliveryResult result(CURLcode code) const;
  std::chrono::milliseconds took() const;

 private:
  bool take(size_t bytes);  // false: the answer is too long
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static curl_socket_t on_socket(void* self, curlsocktype purpose, curl_sockaddr* address);
  static size_t on_header(char* data, size_t size, size_t count, void* self);

  CURLM* const multi_;
  CURL* const easy_;
  const std::string body_;
  curl_slist* headers_ = nullptr;
  size_t answered_bytes_ = 0;
  std::string retry_after_;
  const std::vector<IpRange> allowed_;
  std::string refused_address_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace trunkline::metering
