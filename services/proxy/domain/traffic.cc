#include "proxy/domain/traffic.h"

#include <algorithm>
#include <cstring>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

// Longer ones are not the server's own about a commit.
constexpr size_t kMostNotice = 2048;
constexpr size_t kMostTag = 64;
constexpr size_t kMostParameter = 256;
// A client that asks more than this in advance is not followed.
constexpr size_t kMostAsked = 64 << 10;
constexpr size_t kUnnamedKept = 1024;  // capacity that an idle session may keep

bool confirms(char type) { return type == 'C' || type == 'Z'; }
bool is_end(char asked) { return asked == 'S' || asked == 'Q' || asked == 'F'; }

}  // namespace

bool Traffic::take_header(Frame& frame, std::string_view& bytes) {
  if (frame.have == 0 && bytes.size() >= kHeader) {
    std::memcpy(frame.header, bytes.data(), kHeader);
    bytes.remove_prefix(kHeader);
  } else {
    const size_t take = std::min(kHeader - frame.have, bytes.size());
    std::memcpy(frame.header + frame.have, bytes.data(), take);
    frame.have = static_cast<uint8_t>(frame.have + take);
    bytes.remove_prefix(take);
    if (frame.have < kHeader) return false;
  }
  frame.have = 0;
  frame.type = frame.header[0];
  frame.body_left = get_uint32(frame.header + 1) - 4;
  frame.first_byte = frame.body_left > 0;
  return true;
}

bool Traffic::from_client(std::string_view bytes) {
  while (!bytes.empty()) {
    if (client_.body_left == 0) {
      if (!take_header(client_, bytes)) return true;
      if (client_.body_left > UINT32_MAX / 2) return false;
      begin_client_message();
      continue;
    }
    const size_t take = std::min<size_t>(client_.body_left, bytes.size());
    if (client_.type == 'P' || client_.type == 'Q' || client_.type == 'C') {
      take_client_body(bytes.substr(0, take));
    }
    client_.first_byte = false;
    client_.body_left -= static_cast<uint32_t>(take);
    bytes.remove_prefix(take);
  }
  return true;
}

void Traffic::take_client_body(std::string_view bytes) {
  if (client_.type == 'C') {  // Close, of the unnamed statement
    if (client_.first_byte && client_.body_left == 2 && bytes[0] == 'S') {
      ask('p');
      unnamed_.clear();
    }
    return;
  }
  if (client_.type == 'P' && client_.first_byte) {
    keep_unnamed_ = bytes[0] == '\0';
    ask(keep_unnamed_ ? 'p' : 'o');
    if (keep_unnamed_) {
      unnamed_.clear();
      if (client_.body_left > kMostUnnamed) {
        keep_unnamed_ = false;
        uncertain_ = true;
      }
    }
  }
  watch_.take(bytes);
  if (client_.type == 'P' && keep_unnamed_) unnamed_.append(bytes);
}

std::string_view Traffic::open_batch() const {
  const std::string_view all = asked();
  size_t begin = all.size();
  while (begin > 0 && !is_end(all[begin - 1])) --begin;
  return all.substr(begin);
}

void Traffic::ask(char what) {
  if (asked_.size() - answered_ > kMostAsked) lost_track_ = true;
  if (lost_track_) return;
  if (what == 'o') {
    if (open_batch().empty()) asked_.push_back('o');
    return;
  }
  if (what == 'p') {
    const std::string_view batch = open_batch();
    uncertain_ = batch.find('e') != std::string_view::npos;
    if (std::count(batch.begin(), batch.end(), 'p') >= 2) return;
  }
  asked_.push_back(what);
}

void Traffic::begin_text() {
  watch_.begin();
  texts_ = static_cast<uint8_t>(std::min(texts_ + 1, 2));
}

void Traffic::begin_client_message() {
  switch (client_.type) {
    case 'Q':
      begin_text();
      unnamed_.clear();
      if (unnamed_.capacity() > kUnnamedKept) unnamed_.shrink_to_fit();
      uncertain_ = false;
      ask('Q');
      return;
    case 'F':
      ask('F');
      return;
    case 'S':
      if (!copying_in_) ask('S');
      return;
    case 'X':
      goodbye_ = true;
      return;
    case 'c':
    case 'f':
      if (copying_in_) {
        copying_in_ = false;
      } else if (!asked().empty()) {
        ask('c');
      }
      return;
    case 'd':  // a copy's own end is what counts
    case 'H':
      return;
    case 'P':
      begin_text();
      if (client_.body_left == 0) ask('o');
      return;
    default:
      ask('o');
  }
}

size_t Traffic::from_server(std::string_view bytes) {
  const size_t all = bytes.size();
  while (!bytes.empty()) {
    if (server_.body_left == 0) {
      if (in_doubt_ && server_.have == 0 && confirms(bytes[0])) return all - bytes.size();
      const size_t before = all - bytes.size();
      if (!take_header(server_, bytes)) return all;
      if (server_.body_left > UINT32_MAX / 2) return before;
      begin_server_message();
      continue;
    }
    if (server_.first_byte) {
      server_.first_byte = false;
      if (server_.type == 'Z') status_ = bytes[0];
    }
    const size_t take = std::min<size_t>(server_.body_left, bytes.size());
    if (keep_ != Keep::nothing) kept_.append(bytes.data(), take);
    server_.body_left -= static_cast<uint32_t>(take);
    bytes.remove_prefix(take);
    if (keep_ != Keep::nothing && server_.body_left == 0) end_kept();
  }
  return all;
}

void Traffic::begin_server_message() {
  const uint32_t size = server_.body_left;
  keep_ = Keep::nothing;
  switch (server_.type) {
    case 'Z':
      answer_ready();
      return;
    case 'N':
      if (size > 0 && size <= kMostNotice) keep_ = Keep::notice;
      return;
    case 'C':
      if (!watch_.ties().empty() && size > 0 && size <= kMostTag) keep_ = Keep::tag;
      return;
    case 'S':
      if (size > 0 && size <= kMostParameter) keep_ = Keep::parameter;
      return;
    case 'E':
      answer_error();
      return;
    case 'G':
      answer_copy_in();
      return;
    case 'W':
      copying_ = true;
      return;
    default:
      return;
  }
}

void Traffic::answer_ready() {
  copying_ = copying_in_ = false;
  while (answered_ < asked_.size() && !is_end(asked_[answered_])) ++answered_;
  if (answered_ < asked_.size()) ++answered_;
  if (answered_ == asked_.size()) {
    asked_.clear();
    answered_ = 0;
    texts_ = 0;
  } else if (answered_ > 64 && answered_ > asked_.size() / 2) {
    asked_.erase(0, answered_);
    answered_ = 0;
  }
}

// What comes from now on up to the copy's end is the copy's; a Sync in it is thrown away.
void Traffic::answer_copy_in() {
  copying_ = true;
  size_t at = answered_;
  while (at < asked_.size() && (asked_[at] == 'p' || asked_[at] == 'o')) ++at;
  if (at < asked_.size() && asked_[at] == 'Q') ++at;
  size_t keep = at;
  while (at < asked_.size() && asked_[at] != 'c') {
    if (asked_[at] != 'S') asked_[keep++] = asked_[at];
    ++at;
  }
  copying_in_ = at == asked_.size();
  if (!copying_in_) ++at;
  asked_.erase(keep, at - keep);
}

void Traffic::answer_error() {
  copying_in_ = false;
  const std::string_view all = asked();
  const size_t end = std::min(all.find_first_of("SQF"), all.size());
  if (end < all.size() && all[end] != 'S') return;
  const std::string_view batch = all.substr(0, end);
  const auto parsed = std::count(batch.begin(), batch.end(), 'p');
  // Made anew later: what became of it here does not matter.
  const bool superseded = all.substr(end).find_first_of("pQ") != std::string_view::npos;
  if (parsed > 0 && !superseded && !(parsed == 1 && batch[0] == 'p')) uncertain_ = true;
  if (end == all.size() && !all.empty()) asked_.push_back('e');
}

void Traffic::end_kept() {
  const Keep kept = keep_;
  keep_ = Keep::nothing;
  Reader reader(kept_);
  if (kept == Keep::notice) {
    in_doubt_ = in_doubt_ || (report_field(kept_, 'R') == "SyncRepWaitForLSN" &&
                              report_field(kept_, 'V') == "WARNING");
  } else if (kept == Keep::tag) {
    const bool seeded = watch_.ties().has(Tie::random_seed);
    // A text that was sent after it could be what ties.
    if (reader.text() == "DISCARD ALL" && texts_ <= 1) {
      watch_.forget_all();
      if (seeded) watch_.add(Tie::random_seed);
    }
  } else if (reader.text() == "standard_conforming_strings") {
    strings_changed_ = true;
  }
  std::string().swap(kept_);
}

void Traffic::forget_hints() {
  for (const Tie tie : {Tie::temporary_object, Tie::listen, Tie::advisory_lock, Tie::held_cursor}) {
    watch_.forget(tie);
  }
}

bool Traffic::idle() const {
  return asked().find_first_not_of('c') == std::string_view::npos && status_ == 'I' && !copying_ &&
         !copying_in_ && !lost_track_ && !goodbye_ && client_at_boundary() &&
         server_at_boundary();
}

}  // namespace trunkline::proxy
