#include "proxy/domain/traffic.h"

#include <algorithm>
#include <cstring>

#include "proxy/domain/own_settings.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

// Longer ones are not the server's own about a commit.
constexpr size_t kMostNotice = 2048;
// Of a statement's text that is looked at, as far as it came in one read.
constexpr size_t kMostSql = 4096;

bool confirms(char type) { return type == 'C' || type == 'Z'; }

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
    if (client_.first_byte) {
      client_.first_byte = false;
      if (client_.type == 'P') unnamed_waits_ = bytes[0] == '\0';
      if (client_.type == 'P' || client_.type == 'Q') {
        const size_t seen = std::min<size_t>(client_.body_left, kMostSql);
        own_settings_ = own_settings_ || sets_own_setting(bytes.substr(0, seen));
      }
    }
    const size_t take = std::min<size_t>(client_.body_left, bytes.size());
    client_.body_left -= static_cast<uint32_t>(take);
    bytes.remove_prefix(take);
  }
  return true;
}

void Traffic::begin_client_message() {
  switch (client_.type) {
    case 'Q':
    case 'F':
      unnamed_waits_ = false;
      [[fallthrough]];
    case 'S':
      ++unanswered_;
      last_asked_ = client_.type;
      unsynced_ = false;
      return;
    case 'X':
      goodbye_ = true;
      return;
    case 'B':
      unnamed_waits_ = false;
      unsynced_ = true;
      return;
    case 'd':  // a copy's own end is what counts
    case 'c':
    case 'f':
    case 'H':
      return;
    default:
      unsynced_ = true;
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
    if (keep_notice_) notice_.append(bytes.data(), take);
    server_.body_left -= static_cast<uint32_t>(take);
    bytes.remove_prefix(take);
    if (keep_notice_ && server_.body_left == 0) end_notice();
  }
  return all;
}

void Traffic::begin_server_message() {
  switch (server_.type) {
    case 'Z':
      if (unanswered_ > 0) --unanswered_;
      copying_ = false;
      return;
    case 'N':
      keep_notice_ = server_.body_left > 0 && server_.body_left <= kMostNotice;
      return;
    case 'G':
    case 'W':
      // While it copies a server throws Sync away: that behind the Execute is not answered.
      if (server_.type == 'G' && last_asked_ == 'S' && unanswered_ > 0) --unanswered_;
      copying_ = true;
      return;
    default:
      return;
  }
}

void Traffic::end_notice() {
  keep_notice_ = false;
  in_doubt_ = in_doubt_ || (report_field(notice_, 'R') == "SyncRepWaitForLSN" &&
                            report_field(notice_, 'V') == "WARNING");
  std::string().swap(notice_);
}

bool Traffic::idle() const {
  return unanswered_ == 0 && status_ == 'I' && !unsynced_ && !unnamed_waits_ && !copying_ &&
         !goodbye_ && client_at_boundary() && server_at_boundary();
}

}  // namespace trunkline::proxy
