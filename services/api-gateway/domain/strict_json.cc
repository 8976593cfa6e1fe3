#include "api-gateway/domain/strict_json.h"

#include <optional>
#include <string>
#include <vector>

namespace trunkline::gateway {
namespace {

constexpr size_t kDeepest = 16;
constexpr size_t kMostValues = 2000;

// Builds the document and stops at the first thing that is not allowed.
class Builder : public nlohmann::json_sax<json> {
 public:
  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override {
    if (value.find('\0') != string_t::npos) return refuse("bad_value", "a string holds U+0000");
    return put(std::move(value));
  }
  bool binary(binary_t&) override { return refuse("bad_json", "binary values are no JSON"); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (name.find('\0') != string_t::npos)
      return refuse("bad_value", "a field's name holds U+0000");
    if (open_.back()->contains(name)) {
      return refuse("duplicate_key", "field '" + shown(name) + "' is given twice");
    }
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return refuse("bad_json",
                  "the body is not valid JSON (at byte " + std::to_string(position) + ")");
  }

  json root;
  std::optional<Problem> problem;

 private:
  bool refuse(std::string type, std::string message) {
    if (!problem) problem = bad_request(std::move(type), std::move(message));
    return false;
  }
  json* place(json value) {
    if (++values_ > kMostValues) {
      refuse("bad_json", "the body holds more than " + std::to_string(kMostValues) + " values");
      return nullptr;
    }
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }
  bool put(json value) { return place(std::move(value)) != nullptr; }
  bool open(json value) {
    if (open_.size() >= kDeepest) {
      return refuse("bad_json", "the body is nested deeper than " + std::to_string(kDeepest));
    }
    json* at = place(std::move(value));
    if (at != nullptr) open_.push_back(at);
    return at != nullptr;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<json*> open_;
  std::string key_;
  size_t values_ = 0;
};

}  // namespace

Outcome<json> parse_json_object(std::string_view text) {
  // The library takes a NUL for the end of its input and would not look at what follows.
  if (text.find('\0') != std::string_view::npos) {
    return bad_request("bad_json", "the body holds a NUL");
  }
  // The library skips it, another reader may not.
  if (text.starts_with("\xef\xbb\xbf")) {
    return bad_request("bad_json", "the body must not begin with a byte order mark");
  }
  Builder builder;
  const bool whole = json::sax_parse(text.begin(), text.end(), &builder);
  if (builder.problem) return *builder.problem;
  if (!whole) return bad_request("bad_json", "the body is not valid JSON");
  if (!builder.root.is_object()) {
    return bad_request("bad_json", "the body must be a JSON object");
  }
  return std::move(builder.root);
}

}  // namespace trunkline::gateway
