%% A middleware that answers by itself.
-module(stop_m).
-behaviour(cowboy_middleware).

-export([execute/2]).

execute(Req, _) ->
    {stop, cowboy_req:reply(401, #{}, <<"stopped">>, Req)}.
