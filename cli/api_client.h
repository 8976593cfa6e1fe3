// The REST API as the commands use it. Not thread-safe. Every method throws Failure: refused,
// not_found or unavailable, with the API's own words.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/http_client.h"
#include "cli/json.h"
#include "cli/platform.h"

namespace trunkline::cli {

using Query = std::vector<std::pair<std::string, std::string>>;

inline const std::string kResources = "/v1/postgres/";
inline constexpr std::chrono::milliseconds kTimeout{10000};

class ApiClient {
 public:
  explicit ApiClient(const Platform& platform);

  // `timeout`: for what takes long by its nature.
  Json get(const std::string& path, const Query& query = {},
           std::chrono::milliseconds timeout = kTimeout);
  // The pages of an object with lists in it: the first one, with the lists of all of them.
  Json get_pages(const std::string& path, const Query& query,
                 std::chrono::milliseconds timeout = kTimeout);
  // All pages, or the first `limit` rows if it is not 0.
  std::vector<Json> list(const std::string& path, const Query& query = {}, size_t limit = 0);

  // Text as it comes; `sink` answers whether it wants more. No time limit. Headers and trailers.
  std::map<std::string, std::string> pour(const std::string& path, const Query& query,
                                          const std::function<bool(std::string_view)>& sink);

  struct Written {
    Json document;          // null for 204
    std::string operation;  // path of the operation to poll if it was not answered in time (202)
  };
  Written post(const std::string& path, const Json& body,
               std::chrono::milliseconds timeout = kTimeout);
  Written put(const std::string& path, const Json& body);
  Written remove(const std::string& path);

  // The status of a path that needs no token and whose answer is not looked at, 0 if unreachable.
  int probe(const std::string& path);

 private:
  HttpAnswer exchange(const std::string& method, const std::string& target,
                      const std::string& body, std::chrono::milliseconds timeout);
  Written write(const std::string& method, const std::string& path, const std::string& body,
                std::chrono::milliseconds timeout = kTimeout);

  HttpClient http_;
  std::string api_;
  std::string token_;
};

}  // namespace trunkline::cli
