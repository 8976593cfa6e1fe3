// Writes JSON text straight into a string: documents are rendered far more often than they are
// read, and a tree of values in between would cost more than all the rest of a rebuild. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline::lookup {

// Appends `text` escaped, without quotes. U+0000 becomes U+FFFD: PostgreSQL's text has no NUL, and
// one stored document that cannot be read would break every list that it is in.
void append_json_text(std::string& out, std::string_view text);
// Nine digits; "null" for none, and for what JSON cannot say.
std::string number_text(std::optional<double> value);

// Objects and arrays on `out`; every begin has its end. Keys need no escaping.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  void begin_object() { comma(), open('{'); }
  void begin_object(std::string_view key) { name(key), open('{'); }
  void end_object() { close('}'); }
  void begin_array(std::string_view key) { name(key), open('['); }
  void end_array() { close(']'); }

  void text(std::string_view key, std::string_view value) {
    name(key);
    quoted(value);
  }
  void number(std::string_view key, uint64_t value) {
    name(key);
    out_ += std::to_string(value);
  }
  void boolean(std::string_view key, bool value) {
    name(key);
    out_ += value ? "true" : "false";
  }
  // The URI of something: `prefix` (which needs no escaping) and an id.
  void reference(std::string_view key, std::string_view prefix, std::string_view id) {
    name(key);
    out_ += '"';
    out_ += prefix;
    append_json_text(out_, id);
    out_ += '"';
  }
  // `value` is JSON already.
  void raw(std::string_view key, std::string_view value) {
    name(key);
    out_ += value;
  }
  void element(std::string_view value) {
    comma();
    quoted(value);
  }

 private:
  void comma() {
    if (!fresh_) out_ += ',';
    fresh_ = false;
  }
  void name(std::string_view key) {
    comma();
    out_ += '"';
    out_ += key;
    out_ += "\":";
  }
  void quoted(std::string_view value) {
    out_ += '"';
    append_json_text(out_, value);
    out_ += '"';
  }
  void open(char c) {
    out_ += c;
    fresh_ = true;
  }
  void close(char c) {
    out_ += c;
    fresh_ = false;
  }

  std::string& out_;
  bool fresh_ = true;  // the next member is the first of its object or array
};

}  // namespace trunkline::lookup
