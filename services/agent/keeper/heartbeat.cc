#include "agent/keeper/heartbeat.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "agent/domain/platform_session.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

constexpr int64_t kBeatEveryMs = 300;
constexpr int64_t kAskEveryMs = 10;
constexpr int64_t kRetryMs = 50;
constexpr int64_t kDeadlineMs = 1000;  // for the answer to a query
constexpr size_t kLongestMessage = 64 * 1024;

void put32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

uint32_t get32(const std::string& in, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(in[at + i]);
  return value;
}

std::string startup_message() {
  std::string body;
  put32(body, 196608);
  for (const char* word : {"user", "postgres", "database", "postgres", "application_name",
                           "trunkline-keeper", "options"}) {
    body += word;
    body += '\0';
  }
  body += kPlatformSessionOptions;
  body += " -c synchronous_commit=local -c statement_timeout=0";
  body += '\0';
  body += '\0';
  std::string message;
  put32(message, static_cast<uint32_t>(body.size() + 4));
  return message + body;
}

}  // namespace

void Heartbeat::drop() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  ready_ = false;
  stage_ = Stage::closed;
  in_.clear();
  out_.clear();
  lsn_.clear();
}

void Heartbeat::fail(int64_t now_ms) {
  drop();
  retry_ms_ = now_ms + kRetryMs;
}

void Heartbeat::open(const std::string& data_directory, int64_t now_ms) {
  const std::string path = postmaster_socket(data_directory);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  retry_ms_ = now_ms + kRetryMs;
  if (path.empty() || path.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return;
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail(now_ms);
    return;
  }
  stage_ = Stage::starting;
  sent_ms_ = now_ms;
  out_ = startup_message();
}

void Heartbeat::query(const std::string& sql, Stage stage, int64_t now_ms) {
  out_ += 'Q';
  put32(out_, static_cast<uint32_t>(sql.size() + 5));
  out_ += sql;
  out_ += '\0';
  ready_ = false;
  value_.clear();
  stage_ = stage;
  sent_ms_ = now_ms;
}

bool Heartbeat::transfer() {
  while (!out_.empty()) {
    const ssize_t n = ::send(fd_, out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n <= 0) return false;
    out_.erase(0, static_cast<size_t>(n));
  }
  char buffer[4096];
  while (in_.size() < kLongestMessage) {
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n <= 0) return false;
    in_.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

bool Heartbeat::take_messages() {
  size_t at = 0;
  bool fine = true;
  while (in_.size() >= at + 5) {
    const char type = in_[at];
    const uint32_t size = get32(in_, at + 1);
    if (size < 4 || size > kLongestMessage) return false;
    if (in_.size() < at + 1 + size) break;
    const size_t body = at + 5;
    if (type == 'E') fine = false;
    // Trust or peer: there is nothing to be answered.
    if (type == 'R' && (size < 8 || get32(in_, body) != 0)) fine = false;
    if (type == 'Z') ready_ = true;
    if (type == 'D' && size >= 10) {
      const uint32_t length = get32(in_, body + 2);
      if (length <= size - 10) value_ = in_.substr(body + 6, length);
    }
    at += 1 + size;
  }
  in_.erase(0, at);
  return fine;
}

void Heartbeat::ask(const Guard& guard, int64_t now_ms) {
  std::string names;
  for (const char c : guard.voters) {
    if (c == ',') {
      names += "','";
    } else {
      names += c;
    }
  }
  // Of functions alone: a relation would need a lock, and tenants can take all that there are.
  query("select count(distinct a.application_name) from pg_stat_get_wal_senders() w"
        " join pg_stat_get_activity(null) a using (pid) where w.write_lsn >= '" +
            lsn_ + "' and a.application_name in ('" + names + "')",
        Stage::asking, now_ms);
}

int64_t Heartbeat::step(const std::string& data_directory, const Guard& guard, bool wanted,
                        int64_t now_ms) {
  int64_t confirmed = -1;
  if (stage_ == Stage::closed && now_ms >= retry_ms_) open(data_directory, now_ms);
  if (stage_ != Stage::closed && (!transfer() || !take_messages())) fail(now_ms);
  const bool waits = stage_ == Stage::starting || stage_ == Stage::writing ||
                     (stage_ == Stage::asking && !ready_);
  if (waits && !ready_ && now_ms - sent_ms_ >= kDeadlineMs) fail(now_ms);
  if (ready_ && stage_ == Stage::starting) stage_ = Stage::idle;
  if (ready_ && stage_ == Stage::writing) {
    lsn_ = value_;
    stage_ = Stage::idle;
    ask_ms_ = now_ms + 2;
    if (lsn_.empty() || lsn_.find_first_not_of("0123456789ABCDEF/") != std::string::npos) {
      fail(now_ms);
    }
  }
  if (ready_ && stage_ == Stage::asking) {
    stage_ = Stage::idle;
    ask_ms_ = now_ms + kAskEveryMs;
    if (std::strtoul(value_.c_str(), nullptr, 10) >= guard.need) {
      confirmed = written_ms_;
      lsn_.clear();
    }
  }
  if (stage_ == Stage::idle && wanted) {
    if (now_ms >= next_beat_ms_) {
      next_beat_ms_ = now_ms + kBeatEveryMs;
      written_ms_ = now_ms;
      query("select pg_logical_emit_message(true, 'trunkline.heartbeat', '')", Stage::writing,
            now_ms);
    } else if (!lsn_.empty() && now_ms >= ask_ms_) {
      ask(guard, now_ms);
    }
    if (!transfer()) fail(now_ms);
  }
  if (!wanted) lsn_.clear();
  wake_ms_ = -1;
  if (stage_ == Stage::closed) {
    wake_ms_ = retry_ms_;
  } else if (stage_ != Stage::idle) {
    wake_ms_ = sent_ms_ + kDeadlineMs;
  } else if (wanted) {
    wake_ms_ = lsn_.empty() ? next_beat_ms_ : std::min(next_beat_ms_, ask_ms_);
  }
  return confirmed;
}

}  // namespace trunkline::agent
