"""What pytest needs to run the tests here: `async def` tests run by themselves."""

pytest_plugins = ["interlock.testing.plugin"]
