#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/digest.h"
#include "proxy/domain/wire.h"
#include "proxy/io/session.h"
#include "runtime/random.h"

namespace trunkline::proxy {
namespace {

constexpr char kTlsHandshake = 0x16;
constexpr size_t kMostSaslBytes = 10'000;
constexpr std::chrono::milliseconds kDoubtPause{10};
// A pooled client's place in its queue, at most.
constexpr std::chrono::seconds kCancelPatience{60};
constexpr std::chrono::milliseconds kCancelPause{20};
constexpr std::chrono::milliseconds kMostCancelPause{500};
constexpr uint32_t kOk = 0;
constexpr uint32_t kSasl = 10;
constexpr uint32_t kSaslContinue = 11;
constexpr uint32_t kSaslFinal = 12;

std::string ready_for_query() { return message('Z', "I"); }

}  // namespace

Task<void> Session::log_in() {
  const SteadyTime begin = std::chrono::steady_clock::now();
  const FirstPacket packet = co_await first_packet(begin + context_.options.startup_time);
  if (packet.kind == FirstPacket::Kind::cancel) {
    co_await pass_cancel(packet);
    close();
    co_return;
  }
  Refusal refusal = packet.why;
  if (packet.kind == FirstPacket::Kind::startup) {
    if (packet.replication) {
      refusal = {"0A000", "replication connections are not served here"};
    } else if (client_.tls() == nullptr && !loopback_) {
      refusal = {"28000", "a connection that is not encrypted is not accepted"};
    }
  }
  if (!refusal.sqlstate.empty()) {
    co_await farewell(fatal(refusal));
    co_return;
  }
  database_ = packet.database;
  user_ = packet.user;
  const bool known = co_await authenticate(packet, negotiation(packet),
                                           begin + context_.options.login_time);
  if (!known) {
    co_await farewell(wrong_password(user_));
    co_return;
  }
  newcomer_.reset();
  const bool reads = endpoint_->name().kind == EndpointKind::read_only && !is_pooled();
  startup_ = startup_packet(reads ? reading_parameters(packet.parameters) : packet.parameters);
  if (reads) company_ = company_of(packet);
  place_in_worker_ = worker_.enroll(*endpoint_, this);
  std::string answer = std::move(sasl_last_) + authentication(kOk);
  uint64_t share = 0;
  share_ = context_.take(context_.session_shares, endpoint_->name().instance, &share);
  admitted_ = share_ && endpoint_->admit(entrance_.way);
  NodeSession node;
  std::string last_words;
  if (!share_) {
    last_words = fatal({"53300", "the proxy has no more connections for this instance: its share "
                                 "of those that all instances use is " + std::to_string(share)});
  } else if (admitted_ && is_pooled()) {
    last_words = co_await connect_to_pool(packet.parameters, &node);
  } else if (admitted_) {
    last_words = co_await connect_to_node(std::chrono::steady_clock::now(), true, &node);
  } else {
    last_words = fatal({"53300", "this endpoint has as many connections as it may have"});
  }
  if (!last_words.empty()) {
    co_await farewell(answer + last_words);
    co_return;
  }
  if (!is_pooled()) {
    meter_ = &context_.traffic.of(endpoint_->name());
    meter_->session_opened();
  }
  answer += node.parameters;
  answer += backend_key(cancel_key_->pid, cancel_key_->secret);
  answer += ready_for_query();
  co_await client_.send(answer, std::chrono::steady_clock::now() + context_.options.login_time);
  database_ = {};
}

// Reads no byte beyond what was asked for: whatever follows a request for TLS must come encrypted.
Task<FirstPacket> Session::first_packet(SteadyTime deadline) {
  bool asked_gss = false;
  char first = 0;
  while (recv(client_.fd(), &first, 1, MSG_PEEK) < 0 && errno == EAGAIN) {
    const bool in_time = co_await client_.ready(EPOLLIN | EPOLLRDHUP, deadline);
    if (!in_time) throw Disconnected{true};
  }
  if (first == kTlsHandshake && context_.client_tls) co_await begin_tls(deadline);
  while (true) {
    std::string bytes;
    while (bytes.size() < 8) co_await client_.receive(bytes, 8 - bytes.size(), deadline);
    const auto size = first_packet_size(bytes);
    if (!size) throw Malformed{};
    while (bytes.size() < *size) co_await client_.receive(bytes, *size - bytes.size(), deadline);
    FirstPacket packet = parse_first_packet(bytes);
    if (packet.kind == FirstPacket::Kind::ssl && client_.tls() == nullptr) {
      char early = 0;
      if (recv(client_.fd(), &early, 1, MSG_PEEK | MSG_DONTWAIT) > 0) throw Malformed{};
      const std::string answer = context_.client_tls ? "S" : "N";
      co_await client_.send(answer, deadline);
      if (context_.client_tls) co_await begin_tls(deadline);
      continue;
    }
    if (packet.kind == FirstPacket::Kind::gss && !asked_gss && client_.tls() == nullptr) {
      asked_gss = true;
      const std::string answer = "N";
      co_await client_.send(answer, deadline);
      continue;
    }
    if (packet.kind == FirstPacket::Kind::ssl || packet.kind == FirstPacket::Kind::gss) {
      throw Malformed{};
    }
    co_return packet;
  }
}

Task<void> Session::begin_tls(SteadyTime deadline) {
  client_.use_tls(accept_session(context_.client_tls.get(), client_.fd()));
  co_await client_.handshake(deadline);
}

// Says nothing to the client, whether there was something to cancel or not.
Task<void> Session::pass_cancel(FirstPacket packet) {
  const auto target = context_.cancel_keys.find({packet.cancel_pid, packet.cancel_secret});
  if (!target) co_return;
  const uint64_t flight = target->watch ? target->watch->flight.load() : 0;
  co_await send_cancel(*target);
  if (flight % 2 == 1 && !target->watch->is_repeating.exchange(true)) {
    co_await repeat_cancel(*target, flight);
    target->watch->is_repeating = false;
  }
}

Task<void> Session::send_cancel(CancelTarget target) {
  const SteadyTime deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  try {
    server_.open(connect_socket(target.address, target.port), EPOLLIN | EPOLLRDHUP);
    const std::string request = cancel_request(target.pid, target.secret);
    co_await server_.send(request, deadline);
    // The server closes when the signal is sent: a client may rely on that.
    std::string nothing;
    co_await server_.receive(nothing, 1, deadline);
  } catch (const Disconnected&) {
  }
  server_.close();
}

// The client that asked is not kept waiting meanwhile.
Task<void> Session::repeat_cancel(CancelTarget target, uint64_t flight) {
  client_.close();
  const SteadyTime end = std::chrono::steady_clock::now() + kCancelPatience;
  std::chrono::milliseconds pause = kCancelPause;
  while (std::chrono::steady_clock::now() < end) {
    co_await route_event_.wait(worker_.loop, std::chrono::steady_clock::now() + pause);
    if (target.watch->flight != flight) co_return;
    co_await send_cancel(target);
    pause = std::min(pause * 2, kMostCancelPause);
  }
}

std::optional<EndpointName> Session::endpoint_asked_for(const FirstPacket& packet) const {
  if (entrance_.endpoint) return entrance_.endpoint;
  if (packet.endpoint) return packet.endpoint;
  if (client_.tls() == nullptr) return std::nullopt;
  const char* name = SSL_get_servername(client_.tls(), TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return std::nullopt;
  return endpoint_of_server_name(name);
}

std::optional<Verifier> Session::find_verifier(const std::optional<EndpointName>& name,
                                               const std::string& user,
                                               std::shared_ptr<Endpoint>* endpoint) const {
  *endpoint = name ? context_.endpoints.find(*name) : nullptr;
  if (!*endpoint) return std::nullopt;
  const auto route = (*endpoint)->route();
  const auto found = route->verifiers.find(user);
  if (found == route->verifiers.end()) return std::nullopt;
  return parse_verifier(found->second);
}

// A user or an endpoint that is not there goes the same way, with a password that nobody has. While
// news can have been missed it is waited for first.
Task<bool> Session::authenticate(const FirstPacket& packet, std::string preface,
                                 SteadyTime deadline) {
  const auto name = endpoint_asked_for(packet);
  std::shared_ptr<Endpoint> endpoint;
  std::optional<Verifier> verifier = find_verifier(name, packet.user, &endpoint);
  while (!verifier && context_.endpoints.in_doubt()) {
    co_await wait_for_route(std::chrono::steady_clock::now() + kDoubtPause);
    verifier = find_verifier(name, packet.user, &endpoint);
  }
  const std::string mocked = (name ? name->instance.str() : std::string()) + " " + packet.user;
  Verifier mock = mock_verifier(context_.options.mock_secret, mocked);
  const bool exists = verifier.has_value();
  if (!exists) verifier = std::move(mock);
  const std::string stored_key = verifier->stored_key;
  const std::string server_key = verifier->server_key;

  ScramServer scram(std::move(*verifier), base64(runtime::random_bytes(18)),
                    client_.tls() != nullptr ? context_.certificate_hash : std::string());
  const std::string offer = preface + sasl_offer();
  co_await client_.send(offer, deadline);
  Incoming incoming;
  Incoming::Message got = co_await incoming.next(client_, kMostSaslBytes, deadline);
  Reader first(got.body);
  const std::string_view mechanism = first.text();
  const uint32_t size = first.uint32();
  if (got.type != 'p' || !first.ok() || size != first.rest().size()) throw Malformed{};
  if (scram.take_first(mechanism, first.rest()) != ScramServer::Step::go_on) throw Malformed{};
  const std::string challenge = authentication(kSaslContinue, scram.reply());
  co_await client_.send(challenge, deadline);
  got = co_await incoming.next(client_, kMostSaslBytes, deadline);
  if (got.type != 'p') throw Malformed{};
  const auto step = scram.take_final(got.body);
  if (step == ScramServer::Step::malformed || !incoming.bytes.empty()) throw Malformed{};
  if (step != ScramServer::Step::go_on || !exists) co_return false;
  keys_ = std::make_unique<LoginKeys>();
  keys_->client_key = scram.client_key();
  keys_->stored_key = stored_key;
  keys_->server_key = server_key;
  sasl_last_ = authentication(kSaslFinal, scram.reply());
  endpoint_ = std::move(endpoint);
  co_return true;
}

std::string Session::sasl_offer() const {
  std::string mechanisms;
  if (client_.tls() != nullptr && !context_.certificate_hash.empty()) {
    mechanisms += kScramPlus;
    mechanisms.push_back('\0');
  }
  mechanisms += kScram;
  mechanisms.push_back('\0');
  mechanisms.push_back('\0');
  return authentication(kSasl, mechanisms);
}

std::string Session::wrong_password(const std::string& user) const {
  return fatal({"28P01", "password authentication failed for user \"" + user + "\""});
}

}  // namespace trunkline::proxy
