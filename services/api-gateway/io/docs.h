// The OpenAPI document and Swagger UI's files, read once and served from memory. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "api-gateway/domain/http_message.h"

namespace trunkline::gateway {

class Docs {
 public:
  // `directory` may be empty or not there: page() then says what is missing.
  explicit Docs(std::string directory);

  HttpResponse openapi() const;
  HttpResponse page();
  HttpResponse file(const std::string& name);

 private:
  bool load();  // under mutex_; true if the files are there

  const std::string directory_;
  const std::string openapi_;
  std::mutex mutex_;
  std::map<std::string, std::string> files_;
};

}  // namespace trunkline::gateway
