%% GET /login is the form, POST /login takes it, POST /logout ends the session.
-module(taskboard_login_handler).
-behaviour(cowboy_handler).

-export([init/2]).

-define(MAX_FORM, 4096). % bytes

init(Req = #{method := Method}, Action) ->
    {ok, handle(Method, Action, Req), Action}.

handle(<<"GET">>, login, Req) ->
    Page = filename:join(code:priv_dir(taskboard), "login.html"),
    Headers = #{<<"content-type">> => <<"text/html; charset=utf-8">>},
    cowboy_req:reply(200, Headers, {sendfile, 0, filelib:file_size(Page), Page}, Req);
handle(<<"POST">>, login, Req0) ->
    %% A form that is too long or not one is answered 413 or 400 by Cowboy.
    Fields = [{name, nonempty, <<>>}, {password, [], <<>>}],
    {ok, Form, Req} = cowboy_req:read_and_match_urlencoded_body(Fields, Req0, #{length => ?MAX_FORM}),
    login(Form, Req);
handle(<<"POST">>, logout, Req) ->
    redirect(<<"/login">>, taskboard_session:close(Req));
handle(_, login, Req) ->
    cowboy_req:reply(405, #{<<"allow">> => <<"GET, POST">>}, Req);
handle(_, logout, Req) ->
    cowboy_req:reply(405, #{<<"allow">> => <<"POST">>}, Req).

login(#{name := Name, password := Given}, Req) ->
    {ok, Password} = application:get_env(taskboard, password),
    %% The digests are compared, because only texts of one size can be in constant time.
    case crypto:hash_equals(crypto:hash(sha256, Given), crypto:hash(sha256, Password)) of
        true when byte_size(Name) >= 1, byte_size(Name) =< 40 ->
            redirect(<<"/">>, taskboard_session:open(Name, Req));
        true ->
            redirect(<<"/login#name">>, Req);
        false ->
            redirect(<<"/login#password">>, Req)
    end.

redirect(To, Req) ->
    cowboy_req:reply(303, #{<<"location">> => To}, Req).
