#include "cli/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "cli/exit_code.h"

namespace trunkline::cli {
namespace {

constexpr size_t kMaxBodyBytes = 64u << 20;

size_t take_body(char* data, size_t, size_t count, void* out) {
  auto& answer = *static_cast<HttpAnswer*>(out);
  if (answer.body.size() + count > kMaxBodyBytes) return 0;
  answer.body.append(data, count);
  return count;
}

struct Pouring {
  CURL* curl;
  const HttpRequest& request;
  HttpAnswer& answer;
};

size_t pour_body(char* data, size_t size, size_t count, void* out) {
  auto& pouring = *static_cast<Pouring*>(out);
  long status = 0;
  curl_easy_getinfo(pouring.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) return take_body(data, size, count, &pouring.answer);
  return pouring.request.sink({data, count}) ? count : 0;
}

size_t take_header(char* data, size_t, size_t count, void* out) {
  const std::string_view line(data, count);
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return count;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back()))) {
    value.remove_suffix(1);
  }
  static_cast<HttpAnswer*>(out)->headers[name] = value;
  return count;
}

}  // namespace

struct HttpClient::Impl {
  CURL* curl = nullptr;
};

HttpClient::HttpClient() : impl_(std::make_unique<Impl>()) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started == CURLE_OK) impl_->curl = curl_easy_init();
  if (impl_->curl == nullptr) throw Failure(ExitCode::unavailable, "libcurl does not start");
}

HttpClient::~HttpClient() { curl_easy_cleanup(impl_->curl); }

HttpAnswer HttpClient::send(const HttpRequest& request) {
  CURL* curl = impl_->curl;
  curl_easy_reset(curl);
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr,
                                                                      &curl_slist_free_all);
  const auto add_header = [&](const std::string& line) {
    headers.reset(curl_slist_append(headers.release(), line.c_str()));
  };
  for (const std::string& line : request.headers) add_header(line);
  add_header("Expect:");
  add_header("Connection: keep-alive");
  HttpAnswer answer;
  char why[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (!request.body.empty()) {
    add_header("Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.0/8,::1");
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "trunkline-cli");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 3000L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &take_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  Pouring pouring{curl, request, answer};
  if (request.sink) {
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &pour_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &pouring);
  }
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &take_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  const CURLcode result = curl_easy_perform(curl);
  if (result != CURLE_OK) {
    throw Failure(ExitCode::unavailable, request.url + ": " +
                                             (why[0] != '\0' ? why : curl_easy_strerror(result)));
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

std::string url_encoded(const std::string& text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '_' || c == '.' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

}  // namespace trunkline::cli
