// Keeps an EndpointTable up to date from the bus, and on disk for a start without the bus. Owns its
// subscription and thread; never gives up.
#pragma once

#include <memory>
#include <string>

#include "bus/bus.h"
#include "proxy/io/endpoints.h"

namespace trunkline::proxy {

// Routes that were stored, to be doubted at first; false: none, or not readable.
bool load_routes(const std::string& file, EndpointTable& table);
// Whole or not at all, readable by the owner only. Throws std::runtime_error.
void store_routes(const std::string& file, const v1::Routes& routes);

class RouteFeed {
 public:
  RouteFeed(bus::Bus& bus, EndpointTable& table, std::string cache_file);
  ~RouteFeed();
  RouteFeed(const RouteFeed&) = delete;
  RouteFeed& operator=(const RouteFeed&) = delete;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace trunkline::proxy
