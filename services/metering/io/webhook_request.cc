#include "metering/io/webhook_request.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "base/utf8.h"
#include "metering/io/webhook_address.h"

namespace trunkline::metering {
namespace {

constexpr size_t kMostAnswer = 64 * 1024;
constexpr size_t kMostLocation = 200;

std::string redirect_text(CURL* easy, long status) {
  const char* location = nullptr;
  curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &location);
  const std::string to =
      location == nullptr ? "" : " to " + bounded_text(location, kMostLocation);
  return "redirects are not followed (" + std::to_string(status) + to + ")";
}

}  // namespace

bool WebhookRequest::take(size_t bytes) {
  answered_bytes_ += bytes;
  return answered_bytes_ <= kMostAnswer;
}

size_t WebhookRequest::on_body(char*, size_t size, size_t count, void* self) {
  return static_cast<WebhookRequest*>(self)->take(size * count) ? size * count : 0;
}

size_t WebhookRequest::on_header(char* data, size_t size, size_t count, void* self) {
  constexpr std::string_view kName = "retry-after:";
  auto* request = static_cast<WebhookRequest*>(self);
  if (!request->take(size * count)) return 0;
  const std::string_view line(data, size * count);
  const bool is_it = line.size() > kName.size() &&
                     std::equal(kName.begin(), kName.end(), line.begin(), [](char a, char b) {
                       return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b);
                     });
  if (is_it) {
    std::string_view value = line.substr(kName.size());
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    while (!value.empty() && value.back() <= ' ') value.remove_suffix(1);
    request->retry_after_ = value.substr(0, 64);
  }
  return size * count;
}

// The address that is connected to, after the name was looked up: what it leads to a moment later
// does not matter.
curl_socket_t WebhookRequest::on_socket(void* self, curlsocktype, curl_sockaddr* address) {
  auto* request = static_cast<WebhookRequest*>(self);
  const auto ip = ip_from(address->addr);
  if (!ip || !may_reach(*ip, request->allowed_)) {
    request->refused_address_ = ip ? ip_text(*ip) : "no IP address";
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

WebhookRequest::WebhookRequest(CURLM* multi, const WebhookTransport& transport,
                               const std::string& url, const std::vector<std::string>& headers,
                               std::string body)
    : multi_(multi),
      easy_(curl_easy_init()),
      body_(std::move(body)),
      allowed_(transport.allowed) {
  if (easy_ == nullptr) throw std::runtime_error("curl has no handle");
  for (const auto& header : headers) headers_ = curl_slist_append(headers_, header.c_str());
  headers_ = curl_slist_append(headers_, "Expect:");
  curl_easy_setopt(easy_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy_, CURLOPT_PROXY, "");
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!transport.ca_file.empty()) {
    curl_easy_setopt(easy_, CURLOPT_CAINFO, transport.ca_file.c_str());
  }
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(transport.connect_timeout.count()));
  curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(transport.timeout.count()));
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers_);
  curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, body_.data());
  curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE, static_cast<long>(body_.size()));
  curl_easy_setopt(easy_, CURLOPT_OPENSOCKETFUNCTION, &WebhookRequest::on_socket);
  curl_easy_setopt(easy_, CURLOPT_OPENSOCKETDATA, this);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &WebhookRequest::on_body);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &WebhookRequest::on_header);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_multi_add_handle(multi_, easy_);
}

WebhookRequest::~WebhookRequest() {
  curl_multi_remove_handle(multi_, easy_);
  curl_easy_cleanup(easy_);
  curl_slist_free_all(headers_);
}

DeliveryResult WebhookRequest::result(CURLcode code) const {
  DeliveryResult out;
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  // What says more than we listen to has answered all the same.
  const bool answered = code == CURLE_OK || (code == CURLE_WRITE_ERROR && status != 0);
  if (answered) {
    out.status = static_cast<int>(status);
    if (status >= 300 && status < 400) out.error = redirect_text(easy_, status);
  } else if (!refused_address_.empty()) {
    out.error = "its address " + refused_address_ +
                " is internal: the operator must allow it (webhook_allow)";
  } else {
    out.error = curl_easy_strerror(code);
  }
  out.retry_after = parse_retry_after(retry_after_);
  return out;
}

std::chrono::milliseconds WebhookRequest::took() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               started_);
}

}  // namespace trunkline::metering
