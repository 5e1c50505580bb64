%% A middleware that hibernates the request's process until it gets a message, then goes on.
-module(suspend_m).
-behaviour(cowboy_middleware).

-export([execute/2, resume/2]).

execute(Req, #{probe := Probe} = Env) ->
    probe:watch(Probe),
    {suspend, ?MODULE, resume, [Req, Env]}.

resume(Req, Env) ->
    receive
        go_on -> {ok, Req, Env}
    end.
